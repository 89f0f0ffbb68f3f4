"""The gRPC listener and the engines behind it."""
