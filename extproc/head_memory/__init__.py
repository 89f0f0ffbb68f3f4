"""Request heads that come again: parsed and admitted once."""
