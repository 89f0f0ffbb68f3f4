"""Bounded caches, and work shared by those who ask for the same."""
