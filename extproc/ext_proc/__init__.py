"""Envoy's messages: read, and written."""
