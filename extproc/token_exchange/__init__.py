"""Exchange of users' tokens at their identity provider for tokens that are meant for AWS."""
