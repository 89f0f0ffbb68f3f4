"""The admin API: its HTTP listener, its service, and what it shows of the running process."""
