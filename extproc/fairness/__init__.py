"""Limits shared fairly: no user can exhaust them for others."""
