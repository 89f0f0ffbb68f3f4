"""Logs, audit log, metrics and traces."""
