"""is_out_of_memory(): what the libraries say when memory runs out."""

import torch

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive")
"""As torch, its CPU allocator, and oneDNN say it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the host."""
    text = str(error).lower()
    is_known = any(words in text for words in OUT_OF_MEMORY)
    return is_known or isinstance(error, MemoryError | torch.OutOfMemoryError)
