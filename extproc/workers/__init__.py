"""Several processes as one server: a supervisor, its workers, and their merged metrics and admin API."""
