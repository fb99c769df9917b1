"""recomputed(): a model whose layers keep nothing for backward but what enters them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(model: Any) -> Iterator[None]:
    """Within it each layer is computed again in backward: a third more work, and memory for one
    layer instead of all. Gradients are the same.
    """
    layers, caches = layers_of(model), getattr(model.config, "use_cache", None)
    model.config.use_cache = False  # a layer that is called again would add to what it kept
    for layer in layers:
        # dropout is off in packs, so there is no random state to keep
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        model.config.use_cache = caches


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of a model's stacks: members of the outermost lists of modules."""
    lists = {name: one for name, one in model.named_modules() if isinstance(one, nn.ModuleList)}
    outermost = [
        one
        for name, one in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
    ]
    return [layer for stack in outermost for layer in stack]
