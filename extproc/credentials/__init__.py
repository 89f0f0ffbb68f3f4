"""From a grant to temporary AWS credentials, and keeping them."""
