"""What connects MCP clients to an endpoint, to be pasted (``extproc connect``)."""
