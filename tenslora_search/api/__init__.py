"""What users call: search, ask_tell, a run's results."""
