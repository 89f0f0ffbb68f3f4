"""What the larger commands do; ``cli`` only parses their arguments."""
