"""An engine on gRPC's own completion queue."""
