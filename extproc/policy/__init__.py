"""What they may be: from an identity to one role."""
