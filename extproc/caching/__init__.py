"""A bounded cache, and work that concurrent requests share."""
