"""From an identity and a request to one role."""
