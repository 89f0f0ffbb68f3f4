"""The admin API: gRPC for operators, on a listener of its own."""
