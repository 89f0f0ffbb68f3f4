"""The wire: gRPC, protobuf, health, admin HTTP."""
