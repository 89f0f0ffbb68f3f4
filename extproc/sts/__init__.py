"""Exchanges of tokens for credentials at AWS STS."""
