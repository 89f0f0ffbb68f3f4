"""The server and its Envoy as one: started, supervised and stopped together (``extproc run``)."""
