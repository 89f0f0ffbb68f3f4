"""The way of a request, from Envoy's message to the answer."""
