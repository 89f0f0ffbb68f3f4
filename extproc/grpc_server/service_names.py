"""Names of the gRPC services and metadata, the same for every engine."""

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_SERVICES = ("", EXT_PROC_SERVICE)
"""The services whose health is reported; "" is the whole server."""

TARGET_METADATA = "x-extproc-target"
"""The gRPC metadata in which Envoy's route names the target; clients cannot set it."""

AFFINITY_METADATA = "x-extproc-affinity"
"""The gRPC metadata by which Envoy chooses the instance; extproc does not read it."""
