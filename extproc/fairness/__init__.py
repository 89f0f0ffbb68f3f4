"""Limits that no user can use up for others."""
