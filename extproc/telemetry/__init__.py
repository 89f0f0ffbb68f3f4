"""What operators see: logs, audit log, metrics and traces."""
