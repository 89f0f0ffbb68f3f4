"""The pages, one file each: from a visit to a response."""
