// The client that the official conformance suite starts: the TypeScript SDK 1.x as a host, with the bridge as its stdio
// server. The suite appends the URL of its own server. PEERS_DIR is the folder with node_modules, BRIDGE the bridge.

import { createRequire } from "node:module";
import { join } from "node:path";

const load = createRequire(join(process.env.PEERS_DIR, "package.json"));
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { ElicitRequestSchema } = load("@modelcontextprotocol/sdk/types.js");

const client = new Client(
  { name: "conformance", version: "1" },
  { capabilities: { elicitation: { form: { applyDefaults: true } } } },
);
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: "accept", content: {} }));
await client.connect(new StdioClientTransport({ command: process.env.BRIDGE, args: [process.argv.at(-1)] }));
const { tools } = await client.listTools();
for (const tool of tools) {
  const numbers = tool.name === "add_numbers" ? { a: 5, b: 3 } : {};
  await client.callTool({ name: tool.name, arguments: numbers });
}
await client.close();
