"""What each setting means, in one place: JSON Schema for editors, and the tables of docs/configuration.md."""
