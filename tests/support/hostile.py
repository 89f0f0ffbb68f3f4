"""Hostile requests of HTTP/1.1, as bytes: for each a 400 or a signature is right, and nothing else."""

BODY = "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
POST = "POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/aws-mcp/aws4_request, SignedHeaders=host, Signature=0"
)
MATRIX = {
    # The client's own AWS headers.
    "x-amz-date": POST + "X-Amz-Date: 20150830T123600Z\r\n" + BODY,
    "x-amz-security-token": POST + "X-Amz-Security-Token: theirs\r\n" + BODY,
    "x-amz-content-sha256": POST + "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n" + BODY,
    "x-amz-content-sha256 streaming": POST + "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n" + BODY,
    "x-amz-anything, twice": POST + "X-Amz-Meta-A: 1\r\nx-amz-meta-a: 2\r\nX-Amz-Target: Other.Op\r\n" + BODY,
    "an SDK's x-amz-user-agent": POST + "X-Amz-User-Agent: aws-sdk-js/3\r\n" + BODY,
    "another user's id": POST + "X-Amzn-Bedrock-AgentCore-Runtime-User-Id: boss\r\n" + BODY,
    "parts of a signature": POST + "X-Amz-Credential: A\r\nX-Amz-Signature: 0\r\n" + BODY,
    "x-amz with odd characters": POST + "X-Amz-A_b.c!: 1\r\n" + BODY,
    "x-amzn-trace-id": POST + "X-Amzn-Trace-Id: Root=1\r\n" + BODY,
    "date": POST + "Date: Mon, 01 Jan 2001 00:00:00 GMT\r\n" + BODY,
    "an aws authorization": "POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: " + SIGNATURE + "\r\n" + BODY,
    "both authorizations": POST + "Authorization: " + SIGNATURE + "\r\n" + BODY,
    "proxy-authorization": POST + "Proxy-Authorization: Bearer {token}\r\n" + BODY,
    "a token in a cookie": POST + "Cookie: t={token}\r\n" + BODY,
    "our own metadata as a header": POST + "x-extproc-target: refused\r\n" + BODY,
    # Headers that Connection names are removed on the way.
    "connection: host": POST + "Connection: host, content-type\r\nContent-Type: a/b\r\n" + BODY,
    "connection: x-amz-date": POST + "Connection: x-amz-date, x-amz-security-token\r\n" + BODY,
    "connection: content-type": POST + "Content-Type: a/b\r\nConnection: close, content-type\r\n" + BODY,
    "connection: content-length": POST + "Connection: content-length, close\r\n" + BODY,
    "keep-alive": POST + "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n" + BODY,
    # Host and target.
    "another host": POST.replace("Host: x", "Host: evil.example") + BODY,
    "the target's host and a port": POST.replace("Host: x", "Host: aws-mcp.us-east-1.api.aws:443") + BODY,
    "two hosts": POST + "Host: y\r\n" + BODY,
    "no host": POST.replace("Host: x\r\n", "") + BODY,
    "empty host": POST.replace("Host: x", "Host: ") + BODY,
    "a host with a user": POST.replace("Host: x", "Host: a@b") + BODY,
    "x-forwarded-host": POST + "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n" + BODY,
    "x-envoy": POST + "x-envoy-original-path: /other\r\nx-envoy-decorator-operation: a\r\nX-Original-Url: /b\r\n" + BODY,
    "absolute form": POST.replace("POST /echo", "POST http://evil.example/echo") + BODY,
    "absolute form of the target": POST.replace("POST /echo", "POST https://aws-mcp.us-east-1.api.aws/echo") + BODY,
    "absolute form with dots": POST.replace("POST /echo", "POST http://x/a/../echo") + BODY,
    "asterisk form": POST.replace("POST /echo", "OPTIONS *") + BODY,
    "authority form": POST.replace("POST /echo", "POST evil.example:443") + BODY,
    "connect": POST.replace("POST /echo", "CONNECT evil.example:443") + BODY,
    "a presigned query": POST.replace("/echo", "/echo?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0") + BODY,
    "a presigned query, hidden": POST.replace("/echo", "/echo?%58-amz-%53ignature=0") + BODY,
    "a presigned token": POST.replace("/echo", "/echo?a=1&x-amz-security-token=t") + BODY,
    # Framing.
    "chunked": POST + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked with trailers": POST
    + "Transfer-Encoding: chunked\r\nTrailer: x-amz-date\r\nConnection: close\r\n\r\n"
    + "2\r\n{}\r\n0\r\nX-Amz-Date: 20150830T123600Z\r\nAuthorization: Bearer {token}\r\n\r\n",
    "chunked with extensions": POST
    + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
    "chunked and sized": POST + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + "Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "chunked, twice": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "identity": POST + "Transfer-Encoding: identity\r\n" + BODY,
    "obfuscated chunked": POST + "Transfer-Encoding: xchunked\r\n" + BODY,
    "two lengths": POST + "Content-Length: 3\r\n" + BODY,
    "two equal lengths": POST + "Content-Length: 2\r\n" + BODY,
    "a negative length": POST + "Content-Length: -2\r\nConnection: close\r\n\r\n{}",
    "te": POST + "TE: trailers, deflate\r\n" + BODY,
    # What is signed must be one thing.
    "two content types": POST + "Content-Type: a/b\r\nContent-Type: c/d\r\n" + BODY,
    "a content type with spaces": POST + 'Content-Type:   a/b;  x="1  2"  \r\n' + BODY,
    "a content type that is not ascii": POST + "Content-Type: a/\xe9\r\n" + BODY,
    "an empty content type": POST + "Content-Type:\r\n" + BODY,
    "a folded header": POST + "Content-Type: a/b;\r\n x=y\r\n" + BODY,
    "content-encoding": POST + "Content-Encoding: gzip\r\nContent-Type: application/json\r\n" + BODY,
    "upgrade": POST + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + BODY,
    "h2c upgrade": POST + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + BODY,
    "an unknown method": POST.replace("POST", "BREW") + BODY,
    "a method that overrides": POST + "X-HTTP-Method-Override: DELETE\r\n" + BODY,
}  # fmt: skip
SIGNED = [
    "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "an SDK's x-amz-user-agent", "proxy-authorization",
    "a token in a cookie", "our own metadata as a header", "another host", "absolute form", "x-forwarded-host",
    "x-envoy", "chunked", "chunked with trailers", "te", "a content type with spaces", "content-encoding",
]  # fmt: skip
