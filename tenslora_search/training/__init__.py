"""A pack of trials: what is trained, how, and what came out."""
