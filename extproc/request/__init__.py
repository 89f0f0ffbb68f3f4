"""The way of a request, from Envoy's first message to the last answer; begin with ``request.way``."""
