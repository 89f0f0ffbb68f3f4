"""The names of what a gRPC listener of ours offers, whichever engine runs it."""

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_SERVICES = ("", EXT_PROC_SERVICE)
"""What health is told of; "" is the server as a whole."""

TARGET_METADATA = "x-extproc-target"
"""The metadata of a stream by which its route names the target; clients cannot set it."""
