"""Many trials: what is proposed, who climbs on. Optuna's home."""
