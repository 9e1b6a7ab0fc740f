// Uses the app's tools with the client of the Model Context Protocol's SDK: mcp_client.mjs URL KEY CALLS, where CALLS are
// names of tools and their arguments as JSON. Prints the tools and the results as JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, key, calls] = process.argv.slice(2);
const client = new Client({ name: "omnistack-peers", version: "1.0.0" });
const requestInit = { headers: { authorization: `Bearer ${key}` } };
try {
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  const { tools } = await client.listTools();
  const results = [];
  for (const [name, args] of JSON.parse(calls)) {
    results.push(await client.callTool({ name, arguments: args }).catch((failure) => ({ code: failure.code })));
  }
  console.log(JSON.stringify({ server: client.getServerVersion(), tools, results }));
  await client.close();
} catch (failure) {
  console.log(JSON.stringify({ failure: String(failure) }));
}
