"""A frozen model, fast."""
