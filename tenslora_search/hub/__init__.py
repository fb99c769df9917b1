"""What is fetched, or kept on this machine's disk."""
