// The client that the official conformance suite starts for its `auth/*` scenarios: the TypeScript SDK as a host, with
// the bridge as its stdio server, which does all of the signing in. The suite appends the URL of its own server.
//
// PEERS_DIR is the folder with node_modules, BRIDGE the bridge, BROWSER what stands in for the browser. What a scenario
// hands its client (MCP_CONFORMANCE_CONTEXT) becomes options of the bridge. With DIRECT=1 there is no bridge: the SDK
// talks to the server itself and signs in where it can do so without help.

import { createRequire } from "node:module";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const load = createRequire(join(process.env.PEERS_DIR, "package.json"));
const url = process.argv.at(-1);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const isModern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28";

const folder = mkdtempSync(join(tmpdir(), "sign-in-"));
const environment = { ...process.env };

function variable(name, value) {
  environment[name] = value;
  return name;
}

function file(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const CLIENT = () => [
  "--client-id", context.client_id,
  ...(context.client_secret ? ["--client-secret-env", variable("OUR_SECRET", context.client_secret)] : []),
];

const OPTIONS = {
  "auth/basic-cimd": () => ["--client-metadata-url", "https://conformance-test.local/client-metadata.json"],
  "auth/pre-registration": CLIENT,
  "auth/client-credentials-basic": () => [...CLIENT(), "--grant", "client-credentials"],
  "auth/client-credentials-jwt": () => [
    ...CLIENT(), "--grant", "client-credentials", "--token-auth-method", "private_key_jwt",
    "--private-key", file("key.pem", context.private_key_pem), "--signing-alg", context.signing_algorithm,
  ],
  "auth/enterprise-managed-authorization": () => [
    ...CLIENT(), "--grant", "enterprise-managed",
    "--idp-issuer", context.idp_issuer, "--idp-token-endpoint", context.idp_token_endpoint,
    "--idp-client-id", context.idp_client_id, "--idp-id-token-env", variable("OUR_ID_TOKEN", context.idp_id_token),
  ],
  "auth/wif-jwt-bearer": () => [
    ...CLIENT(), "--grant", "jwt-bearer", "--assertion-file", file("workload.jwt", context.valid_jwt),
  ],
};

function client() {
  const name = { name: "conformance", version: "1" };
  if (!isModern) return new (load("@modelcontextprotocol/sdk/client/index.js").Client)(name, { capabilities: {} });
  const { Client } = load("@modelcontextprotocol/client");
  return new Client(name, { capabilities: {}, versionNegotiation: { mode: "auto" } });
}

function transport() {
  const home = isModern ? "@modelcontextprotocol/client/stdio" : "@modelcontextprotocol/sdk/client/stdio.js";
  const { StdioClientTransport } = load(home);
  const words = OPTIONS[scenario]?.() ?? [];
  return new StdioClientTransport({ command: process.env.BRIDGE, args: [url, ...words], env: environment });
}

async function direct() {
  const sdk = isModern
    ? load("@modelcontextprotocol/client")
    : { ...load("@modelcontextprotocol/sdk/client/streamableHttp.js"), ...load("@modelcontextprotocol/sdk/client/auth.js") };
  const { client_id, client_secret } = context;
  const kept = { client: client_id && { client_id, client_secret } };
  let code;
  const provider = {
    redirectUrl: "http://localhost:3000/callback",
    clientMetadata: { client_name: "direct", redirect_uris: ["http://localhost:3000/callback"], application_type: "native" },
    clientMetadataUrl: "https://conformance-test.local/client-metadata.json",
    clientInformation: () => kept.client,
    saveClientInformation: (found) => { kept.client = found; },
    tokens: () => kept.tokens,
    saveTokens: (found) => { kept.tokens = found; },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (found) => { kept.verifier = found; },
    redirectToAuthorization: async (address) => {
      const answer = await fetch(address, { redirect: "manual" });
      const back = new URL(answer.headers.get("location"));
      code = back.searchParams.get("code");
      kept.iss = back.searchParams.get("iss");
    },
  };
  const made = () => new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const first = made();
  try {
    const host = client();
    await host.connect(first);
    return host;
  } catch (error) {
    if (!(error instanceof sdk.UnauthorizedError)) throw error;
    await first.finishAuth(code, kept.iss ?? undefined);
    const host = client();
    await host.connect(made());
    return host;
  }
}

let host;
if (process.env.DIRECT) {
  host = await direct();
} else {
  host = client();
  await host.connect(transport());
}
await host.listTools();
await host.callTool({ name: "test-tool", arguments: {} });
await host.close();
