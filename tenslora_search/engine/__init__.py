"""Who runs segments: this process, or Ray Tune."""
