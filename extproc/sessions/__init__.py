"""Sessions: what is known of each verified token, until it expires, is evicted or revoked."""
