"""Several processes as one server: a supervisor, its workers, and what it merges of theirs."""
