"""The operators' interface: metrics and probes over HTTP, the admin API over gRPC, and its client."""
