// Call a tool with the official TypeScript SDK, and print what a person would read: an error's text or the result's.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, token, tool, args] = process.argv.slice(2);
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { authorization: `Bearer ${token}` } },
});
const client = new Client({ name: "refused", version: "1" });
try {
  await client.connect(transport);
  const result = await client.callTool({ name: tool, arguments: JSON.parse(args) });
  console.log(JSON.stringify({ isError: result.isError ?? false, text: result.content[0].text }));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, text: error.message }));
}
process.exit(0);
