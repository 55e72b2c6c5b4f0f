// An authorization server that we did not write: npm's oidc-provider, with PKCE, dynamic registration, rotating refresh
// tokens, resource indicators, the device flow, DPoP and its own pages for signing in and consent.
//
//   node authorization_server.mjs RESOURCE_ORIGIN
//
// PEERS_DIR is the folder with node_modules. It says `listening on http://127.0.0.1:PORT` and checks access tokens for
// the MCP server at POST /check (a form with `token`): 200 with their scope and audience, or 404.

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const load = createRequire(join(process.env.PEERS_DIR, "package.json"));
const { Provider } = await import(pathToFileURL(load.resolve("oidc-provider")));
const resources = process.argv[2];

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [],
  cookies: { keys: ["a key for the tests alone"] },
  pkce: { required: () => true },
  scopes: ["openid", "offline_access", "read", "write"],
  clientDefaults: { application_type: "native", grant_types: ["authorization_code", "refresh_token"] },
  issueRefreshToken: async () => true,
  rotateRefreshToken: () => true,
  ttl: { AccessToken: 3600, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    registrationManagement: { enabled: false },
    revocation: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: { enabled: process.env.WITH_DPOP === "1" },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (context, resource) => {
        if (!resource.startsWith(resources)) throw new Error("not a resource of ours");
        return { scope: "read write", audience: resource, accessTokenTTL: 3600, accessTokenFormat: "opaque" };
      },
    },
  },
});
provider.on("server_error", (context, error) => console.error(error));
for (const event of ["grant.error", "registration_create.error", "authorization.error"]) {
  provider.on(event, (context, error) => console.error(event, error.message, error.error_description));
}

const callback = provider.callback();
server.on("request", async (request, response) => {
  if (request.url !== "/check") return callback(request, response);
  let body = "";
  for await (const chunk of request) body += chunk;
  const token = await provider.AccessToken.find(new URLSearchParams(body).get("token") ?? "");
  if (!token?.isValid) return response.writeHead(404).end();
  const found = { scope: token.scope, aud: token.aud, client_id: token.clientId, jkt: token.jkt };
  return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(found));
});
console.log(`listening on ${issuer}`);
