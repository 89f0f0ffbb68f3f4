"""The shared store: credentials and revocations that all replicas have, in Valkey or Redis."""
