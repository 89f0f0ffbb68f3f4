"""What is known of each verified token."""
