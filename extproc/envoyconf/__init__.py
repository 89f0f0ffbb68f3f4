"""Envoy configurations that fit the settings of extproc, and a check of existing ones."""
