// Log in to an MCP endpoint with the official TypeScript SDK, and list its tools or call one.
//
//     npm install @modelcontextprotocol/sdk@1
//     node login.mjs [URL] [TOOL]
//
// The browser opens ($BROWSER, else the system's), and returns to this program. CLIENT_ID is a client registered
// beforehand; CLIENT_METADATA_URL a client id metadata document, used if the identity provider supports it.
// Otherwise the SDK registers itself. Tokens are in memory only; a program for daily use keeps them in the
// system's key ring. The SDK refreshes them when the gateway refuses them.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const URL_DEFAULT = "http://localhost:10000/mcp";
const CLIENT_ID = undefined;
const [url = URL_DEFAULT, tool] = process.argv.slice(2);
const clientId = process.env.CLIENT_ID ?? CLIENT_ID;

/** The loopback address that the browser comes back to (RFC 8252 section 7.3). */
class Callback {
  constructor() {
    this.returned = new Promise((resolve) => {
      this.server = createServer((request, response) => {
        const { pathname, searchParams } = new URL(request.url, "http://127.0.0.1");
        response.end("You can close this.\n");
        if (pathname === "/callback") resolve(searchParams);
      });
    });
  }

  async listen() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.server.address().port}/callback`;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** What the SDK asks of a client that logs in. */
class Login {
  constructor(redirectUrl) {
    this.redirectUrl = redirectUrl;
    this.clientMetadataUrl = process.env.CLIENT_METADATA_URL;
    this.client = clientId ? { client_id: clientId } : undefined;
    this.expectedState = randomUUID();
  }

  get clientMetadata() {
    return {
      client_name: "login.mjs",
      redirect_uris: [this.redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  state() { return this.expectedState; }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  codeVerifier() { return this.verifier; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }

  redirectToAuthorization(address) {
    console.error(`Log in at ${address}`);
    const system = { darwin: "open", win32: "explorer" }[process.platform] ?? "xdg-open";
    spawn(process.env.BROWSER ?? system, [address.href], { stdio: "ignore" }).on("error", () => {});
  }
}

const callback = new Callback();
const login = new Login(await callback.listen());
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: login });
  const client = new Client({ name: "login.mjs", version: "1" });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
  }
  const returned = await callback.returned;
  if (returned.get("state") !== login.expectedState || !returned.get("code")) {
    throw new Error(`The login failed: ${returned.get("error_description") ?? returned.get("error")}`);
  }
  await transport.finishAuth(returned.get("code"));
  return connect();
};
const client = await connect();
const calls = Number(process.env.CALLS ?? 1); // more than one shows what happens when the token expires
for (let call = 0; call < calls; call++) {
  if (call > 0) await new Promise((resolve) => setTimeout(resolve, Number(process.env.PAUSE ?? 1000)));
  if (tool === undefined) {
    console.log((await client.listTools()).tools.map(({ name }) => name).join("\n"));
    continue;
  }
  const result = await client.callTool({ name: tool, arguments: {} });
  console.log(result.content.filter((part) => part.type === "text").map((part) => part.text).join("\n"));
}
await client.close();
callback.close();
