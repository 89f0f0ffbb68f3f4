"""From credentials and one exact request to signed headers."""
