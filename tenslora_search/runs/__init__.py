"""A run folder; the standard library alone."""
