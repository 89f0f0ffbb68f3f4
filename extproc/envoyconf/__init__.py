"""Envoy configuration rendered from our settings."""
