"""Exchange of tokens for credentials at AWS STS."""
