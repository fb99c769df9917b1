"""Modules that others put around a model or its parts: torch.compile, DataParallel, Accelerate."""

import torch
from torch import nn

from tenslora_search.spec.table import QuestionError

WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "DeepSpeedEngine": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
"""Classes that wrap a module, and the name under which they hold it."""

SHARDED = ("DeepSpeedEngine", "FullyShardedDataParallel", "FSDPModule")
"""Classes, or bases of them, that own their parameters."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, within however many wrappers."""
    while (name := WRAPPERS.get(type(model).__name__)) and name in dict(model.named_children()):
        model = model.get_submodule(name)
    return model


def prepare_wrappers(model: nn.Module) -> None:
    """`QuestionError` within a wrapper that has already taken stock of the parameters it shares
    among processes: it would never hear of an adapter's factors. One that has no other process to
    share with is told to wait for no gradients.
    """
    for module in model.modules():
        kinds = [kind.__name__ for kind in type(module).__mro__]
        is_ddp = isinstance(module, nn.parallel.DistributedDataParallel)
        shards = [kind for kind in kinds if kind in SHARDED]
        if shards or (is_ddp and _world_size() > 1):
            raise QuestionError(
                f"attach before {(shards or kinds)[0]} wraps the model: it shares among the "
                "processes what was there when it was made, and would leave the adapter's factors "
                "out."
            )
        if is_ddp:
            module.require_backward_grad_sync = False


def check_no_other(model: nn.Module) -> None:
    """`QuestionError` for a model with an adapter of peft, which files of ours would leave out."""
    for module in model.modules():
        if any(kind.__name__ == "BaseTunerLayer" for kind in type(module).__mro__):
            raise QuestionError(
                "this model carries an adapter of peft already; call its merge_and_unload() or "
                "unload() first."
            )


def _world_size() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def clean_name(model: nn.Module, name: str) -> str:
    """The name of a module or parameter as it is without wrappers: that which files hold."""
    module, parts = model, list[str]()
    for part in name.split("."):
        if WRAPPERS.get(type(module).__name__) != part:
            parts.append(part)
        module = getattr(module, part)
    return ".".join(parts)


def is_offloaded(module: nn.Module) -> bool:
    """Whether Accelerate loads the module's weights for each call and drops them again."""
    return any(parameter.is_meta for parameter in module.parameters(recurse=False))


def working_device(module: nn.Module, name: str) -> torch.device:
    """Where a map computes: where its weight is, or where Accelerate will load it.

    `QuestionError` if it has no weight and nobody loads one for this very module.
    """
    if not is_offloaded(module):
        return next(module.parameters()).device
    hook = getattr(module, "_hf_hook", None)
    for one in (hook, *getattr(hook, "hooks", ())):
        device = getattr(one, "execution_device", None)
        if device is not None:
            return torch.device(device)
    raise QuestionError(
        f"{name} has no weight (it is on the meta device), and no hook of its own that loads one; "
        "load the model, or dispatch it with accelerate, before attach()."
    )
