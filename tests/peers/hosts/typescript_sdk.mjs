// A host on the official TypeScript SDK, 1.x (@modelcontextprotocol/sdk) or 2.x (@modelcontextprotocol/client): it
// uses everything a server offers and reports what it saw as JSON.
//
//   node typescript_sdk.mjs REPORT -- COMMAND ARGS...     a stdio server
//   node typescript_sdk.mjs REPORT WIRE URL               http, sse or ws, with the SDK's own transport
//
// PEERS_DIR is the folder with node_modules; HOST_SDK is 1 (default) or 2; with HOST_NEGOTIATES=1 the 2.x client
// begins with server/discover. The parts and the report are those of python_sdk.py.

import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const load = createRequire(join(process.env.PEERS_DIR, "package.json"));
const isV1 = process.env.HOST_SDK !== "2";
const packageName = isV1 ? "@modelcontextprotocol/sdk" : "@modelcontextprotocol/client";
const sdk = isV1
  ? {
      ...load(`${packageName}/client/index.js`),
      ...load(`${packageName}/client/stdio.js`),
      ...load(`${packageName}/client/streamableHttp.js`),
      ...load(`${packageName}/client/sse.js`),
      ...load(`${packageName}/client/websocket.js`),
      ...load(`${packageName}/experimental/tasks/stores/in-memory.js`),
      ...load(`${packageName}/types.js`),
    }
  : { ...load(packageName), ...load(`${packageName}/stdio`) };
const version = load(join(process.env.PEERS_DIR, "node_modules", packageName, "package.json")).version;
globalThis.WebSocket ??= load("ws"); // Node 20 has none of its own

const PATIENCE = 30_000;
const TEXT = 'grüße, 世界 \u{1f30d} \u2028 "quoted" \\ back';
const ANSWERS = {
  name: "Ada", check: true, firstLine: "Once", email: "ada@example.org", homepage: "https://example.org",
  birthdate: "1815-12-10", integer: 42, number: 3.14, untitledSingleSelectEnum: "Ross",
  untitledMultipleSelectEnum: ["Piano"], titledSingleSelectEnum: "hero-2",
  titledMultipleSelectEnum: ["fish-3"], legacyTitledEnum: "pet-2",
};

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const seen = {
  sampled: [], elicited: [], roots_asked: 0, logs: [], updated: [], changed: [], late: [],
  roots: [{ uri: "file:///srv/one", name: "One" }],
};
const report = { sdk: `typescript ${version}`, called: {} };
const called = report.called;

async function until(condition, what) {
  const end = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(10);
  }
}

// --- The client, and what it answers ---------------------------------------------------------------------------------

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
const options = { capabilities };
if (isV1) {
  capabilities.tasks = { requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } };
  options.taskStore = new sdk.InMemoryTaskStore();
} else if (process.env.HOST_NEGOTIATES) {
  options.versionNegotiation = { mode: "auto" };
}
const client = new sdk.Client({ name: "host", version: "1" }, options);
client.onerror = (error) => seen.late.push(String(error.message));

function answers(method, schemaName, handler) {
  const asked = async (request, extra) => {
    const result = await handler(request.params);
    if (!isV1 || !request.params?.task) return result;
    const task = await extra.taskStore.createTask({ ttl: 60_000 });
    await extra.taskStore.storeTaskResult(task.taskId, "completed", result);
    return { task };
  };
  client.setRequestHandler(isV1 ? sdk[schemaName] : method, asked);
}

function hears(method, schemaName, handler) {
  client.setNotificationHandler(isV1 ? sdk[schemaName] : method, (notification) => handler(notification));
}

answers("sampling/createMessage", "CreateMessageRequestSchema", (params) => {
  const content = params.messages[0].content;
  seen.sampled.push((Array.isArray(content) ? content[0] : content).text);
  const text = { type: "text", text: `sampled ${TEXT}` };
  return { role: "assistant", content: text, model: "test-model", stopReason: "endTurn" };
});
answers("elicitation/create", "ElicitRequestSchema", (params) => {
  seen.elicited.push(`${params.mode ?? "form"}: ${params.message}`);
  if (params.mode === "url") return { action: "accept" };
  const wanted = params.requestedSchema.properties;
  const content = Object.fromEntries(Object.entries(ANSWERS).filter(([name]) => name in wanted));
  if (wanted.interpretation) content.interpretation = wanted.interpretation.oneOf[0].const;
  return { action: "accept", content };
});
answers("roots/list", "ListRootsRequestSchema", () => {
  seen.roots_asked += 1;
  return { roots: seen.roots };
});
hears("notifications/message", "LoggingMessageNotificationSchema", ({ params }) => seen.logs.push(params));
hears("notifications/resources/updated", "ResourceUpdatedNotificationSchema", ({ params }) =>
  seen.updated.push(params.uri),
);
for (const [kind, schema] of [["tools", "Tool"], ["resources", "Resource"], ["prompts", "Prompt"]]) {
  const method = `notifications/${kind}/list_changed`;
  hears(method, `${schema}ListChangedNotificationSchema`, () => seen.changed.push(method));
}

function transportFor([wire, ...rest]) {
  if (wire === "--") return new sdk.StdioClientTransport({ command: rest[0], args: rest.slice(1), stderr: "inherit" });
  const url = new URL(rest[0]);
  if (wire === "http") return new sdk.StreamableHTTPClientTransport(url);
  if (wire === "sse") return new sdk.SSEClientTransport(url);
  return new sdk.WebSocketClientTransport(url);
}

const tool = (name, args = {}, more = {}) =>
  isV1 ? client.callTool({ name, arguments: args }, undefined, more) : client.callTool({ name, arguments: args }, more);

async function failure(promise) {
  try {
    return { "no error": await promise };
  } catch (error) {
    return { code: error.code, message: error.message, ...(error.data === undefined ? {} : { data: error.data }) };
  }
}

async function all(method, member) {
  const items = [];
  let cursor;
  do {
    const page = await client[method](cursor === undefined ? {} : { cursor });
    items.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

// --- The round -------------------------------------------------------------------------------------------------------

async function greeting() {
  report.initialize = {
    capabilities: client.getServerCapabilities(),
    serverInfo: client.getServerVersion(),
    instructions: client.getInstructions(),
  };
  report.ping = await client.ping();
  await until(() => seen.roots_asked > 0 && seen.logs.length > 0, "roots/list and the log message after it");
  report.first_log = seen.logs[0];
}

async function lists() {
  const tools = await all("listTools", "tools");
  report.tools = tools.map((each) => each.name).sort();
  report.tool_definitions = Object.fromEntries(tools.map((each) => [each.name, each]));
  report.resources = await all("listResources", "resources");
  report.templates = await all("listResourceTemplates", "resourceTemplates");
  report.prompts = await all("listPrompts", "prompts");
}

async function plainTools() {
  const data = "data:text/plain;base64,aGVsbG8=";
  called["echo"] = await tool("echo", { message: TEXT });
  called["get-sum"] = await tool("get-sum", { a: 2, b: 0.5 });
  called["get-env"] = await tool("get-env");
  called["get-tiny-image"] = await tool("get-tiny-image");
  called["get-structured-content"] = await tool("get-structured-content", { location: "Chicago" });
  called["get-resource-links"] = await tool("get-resource-links", { count: 4 });
  called["gzip-file-as-resource"] = await tool("gzip-file-as-resource", { name: "a.gz", data });
  for (const kind of ["error", "success", "debug"]) {
    const args = { messageType: kind, includeImage: true };
    called[`get-annotated-message ${kind}`] = await tool("get-annotated-message", args);
  }
  for (const kind of ["Text", "Blob"]) {
    const args = { resourceType: kind, resourceId: 3 };
    called[`get-resource-reference ${kind}`] = await tool("get-resource-reference", args);
  }
  const args = { name: "b.gz", data, outputType: "resource" };
  called["gzip-file-as-resource inline"] = await tool("gzip-file-as-resource", args);
}

async function questions() {
  called["get-roots-list"] = await tool("get-roots-list");
  called["trigger-sampling-request"] = await tool("trigger-sampling-request", { prompt: TEXT });
  called["trigger-elicitation-request"] = await tool("trigger-elicitation-request");
  let args = { url: "https://example.org/sign", elicitationId: "e-1" };
  called["trigger-url-elicitation"] = await tool("trigger-url-elicitation", args);
  args = { url: "https://example.org/other", elicitationId: "e-2", errorPath: true };
  called["trigger-url-elicitation error"] = await failure(tool("trigger-url-elicitation", args));
}

async function watching() {
  const uri = "demo://resource/dynamic/text/7";
  report.subscribe = await client.subscribeResource({ uri });
  called["toggle-subscriber-updates"] = await tool("toggle-subscriber-updates");
  await until(() => seen.updated.includes(uri), "the resource update");
  called["toggle-subscriber-updates again"] = await tool("toggle-subscriber-updates");
  report.unsubscribe = await client.unsubscribeResource({ uri });
  report.set_level = await client.setLoggingLevel("debug");
  const before = seen.logs.length;
  called["toggle-simulated-logging"] = await tool("toggle-simulated-logging");
  await until(() => seen.logs.length > before, "a log message");
  called["toggle-simulated-logging again"] = await tool("toggle-simulated-logging");
}

async function resources() {
  report.read = {};
  const uris = report.resources.map((resource) => resource.uri);
  uris.push(...["dynamic/text/5", "dynamic/blob/6", "session/a.gz"].map((more) => `demo://resource/${more}`));
  for (const uri of uris) report.read[uri] = await client.readResource({ uri });
}

async function prompts() {
  const get = (name, args) => client.getPrompt({ name, ...(args ? { arguments: args } : {}) });
  report.prompted = {
    "simple-prompt": await get("simple-prompt"),
    "args-prompt": await get("args-prompt", { city: "Zürich", state: "ZH" }),
    "completable-prompt": await get("completable-prompt", { department: "Sales", name: "Eve" }),
    "resource-prompt": await get("resource-prompt", { resourceType: "Text", resourceId: "4" }),
  };
}

async function completions() {
  const prompt = { type: "ref/prompt", name: "completable-prompt" };
  const template = { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" };
  const context = { arguments: { department: "Marketing" } };
  report.completed = {
    department: await client.complete({ ref: prompt, argument: { name: "department", value: "S" } }),
    name: await client.complete({ ref: prompt, argument: { name: "name", value: "" }, context }),
    resourceId: await client.complete({ ref: template, argument: { name: "resourceId", value: "12" } }),
  };
}

async function errors() {
  report.errors = {
    "unknown tool": await failure(tool("no-such-tool")),
    "wrong arguments": await failure(tool("get-sum", { a: "x" })),
    "unknown resource": await failure(client.readResource({ uri: "demo://resource/dynamic/text/zero" })),
    "unknown prompt": await failure(client.getPrompt({ name: "no-such-prompt" })),
  };
}

async function progress() {
  const steps = [];
  const onprogress = (step) => steps.push([step.progress, step.total ?? null]);
  called["trigger-long-running-operation"] = await tool(
    "trigger-long-running-operation", { duration: 0.4, steps: 4 }, { onprogress },
  );
  report.progress = steps;
}

// Cancel a call that would end after two seconds, and see that its answer never comes.
async function cancel() {
  const abort = new AbortController();
  const begun = new Promise((resolve) => (abort.begun = resolve));
  const calling = failure(
    tool("trigger-long-running-operation", { duration: 2, steps: 10 }, {
      onprogress: () => abort.begun(), signal: abort.signal,
    }),
  );
  await begun;
  abort.abort("enough");
  await calling;
  await sleep(3_000);
  report.cancelled = seen.late.some((text) => text.includes("unknown message ID")) ? "answered" : "no answer";
  report.after_cancel = await tool("echo", { message: "still here" });
}

async function sideBySide() {
  const slow = tool("trigger-long-running-operation", { duration: 0.5, steps: 1 });
  const calls = Array.from({ length: 20 }, (_, number) => tool("echo", { message: `number ${number}` }));
  const results = await Promise.all([slow, ...calls]);
  report.side_by_side = results.map((result) => result.content[0].text);
}

async function newRoots() {
  const asked = seen.roots_asked;
  const logged = seen.logs.length;
  seen.roots = [{ uri: "file:///srv/two", name: "Two" }, { uri: "file:///srv/three" }];
  await client.sendRootsListChanged();
  const updated = () => seen.logs.slice(logged).some((log) => String(log.data).startsWith("Roots updated"));
  await until(() => seen.roots_asked > asked && updated(), "the roots asked for again");
  called["get-roots-list again"] = await tool("get-roots-list");
}

// Tasks of revision 2025-11-25: the 1.x SDK speaks them, 2.x does not any more.
async function tasks() {
  if (!isV1) {
    called["simulate-research-query"] = await failure(tool("simulate-research-query", { topic: "x" }));
    return;
  }
  const statuses = new Set();
  const params = { name: "simulate-research-query", arguments: { topic: "python", ambiguous: true } };
  const stream = client.experimental.tasks.callToolStream(params, sdk.CallToolResultSchema, { task: { ttl: 60_000 } });
  for await (const message of stream) {
    if (message.type === "taskStatus" || message.type === "taskCreated") statuses.add(message.task.status);
    if (message.type === "error") throw message.error;
    if (message.type === "result") called["simulate-research-query"] = message.result;
  }
  report.task_statuses = [...statuses];
  called["trigger-sampling-request-async"] = await tool("trigger-sampling-request-async", { prompt: "later" });
  called["trigger-elicitation-request-async"] = await tool("trigger-elicitation-request-async");
}

const [target, ...where] = process.argv.slice(2);
await client.connect(transportFor(where));
const parts = [
  greeting, lists, plainTools, questions, watching, resources, prompts, completions, errors, progress, cancel,
  sideBySide, newRoots, tasks,
];
for (const part of parts) {
  const started = performance.now();
  await part();
  process.stderr.write(`${part.name}: ${((performance.now() - started) / 1000).toFixed(2)} s\n`);
}
const { sampled, elicited, roots_asked } = seen;
Object.assign(report, { sampled, elicited, roots_asked, changed: [...new Set(seen.changed)].sort() });
report.late = seen.late;
await client.close();
writeFileSync(target, JSON.stringify(report, null, 1));
process.exit(0);
