"""The embedded demo: an OIDC provider, an STS emulator and a signed MCP server."""
