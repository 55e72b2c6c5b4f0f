// A host on the official TypeScript SDK, 1.x or 2.x, that visits many servers at once: lists their tools and calls some.
//
//   node visit_typescript.mjs PLAN REPORT
//
// PLAN and REPORT are those of visit_python.py. PEERS_DIR is the folder with node_modules; HOST_SDK is 1 or 2.

import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const load = createRequire(join(process.env.PEERS_DIR, "package.json"));
const isV1 = process.env.HOST_SDK !== "2";
const root = "@modelcontextprotocol/sdk/client";
const sdk = isV1
  ? {
      ...load(`${root}/index.js`),
      ...load(`${root}/streamableHttp.js`),
      ...load(`${root}/sse.js`),
      ...load(`${root}/websocket.js`),
    }
  : load("@modelcontextprotocol/client");
globalThis.WebSocket ??= load("ws"); // Node 20 has none of its own

const PATIENCE = 60_000;

function transport(stop) {
  const url = new URL(stop.url);
  const options = stop.token ? { requestInit: { headers: { Authorization: `Bearer ${stop.token}` } } } : {};
  if (stop.wire === "http") return new sdk.StreamableHTTPClientTransport(url, options);
  if (stop.wire === "sse") return new sdk.SSEClientTransport(url, options);
  return new sdk.WebSocketClientTransport(url); // 1.x alone; it sends no headers
}

async function visit(stop) {
  const client = new sdk.Client({ name: "visitor", version: "1" });
  await client.connect(transport(stop));
  const isWhole = (tools) => stop.until.every((begin) => tools.some((tool) => tool.name.startsWith(begin)));
  let { tools } = await client.listTools();
  for (const end = Date.now() + PATIENCE; !isWhole(tools) && Date.now() < end; ({ tools } = await client.listTools()))
    await new Promise((resolve) => setTimeout(resolve, 200));
  const said = [];
  for (const [name, args] of stop.calls) {
    const { content } = await client.callTool({ name, arguments: args });
    said.push(content.map((part) => part.text ?? "").join(""));
  }
  const report = { server: client.getServerVersion().name, tools: tools.map((tool) => tool.name).sort(), said };
  await client.close();
  return [stop.name, report];
}

const [plan, file] = process.argv.slice(2);
const visits = await Promise.all(JSON.parse(readFileSync(plan, "utf8")).map(visit));
writeFileSync(file, JSON.stringify(Object.fromEntries(visits)));
process.exit(0);
