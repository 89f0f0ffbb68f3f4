"""A cache of admitted request heads: equal heads are decoded and admitted once."""
