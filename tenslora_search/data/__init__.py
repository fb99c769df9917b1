"""A task's rows as tensors."""
