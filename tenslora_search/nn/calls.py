"""Calls: whatever is called from outside, a model or a part of it, first gets its updates anew."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tenslora_search.nn.sites import Site
from tenslora_search.nn.wrappers import WRAPPERS
from tenslora_search.spec.table import QuestionError

F = TypeVar("F", bound=Callable[..., object])


def not_compiled(function: F) -> F:
    """The function, left out of what torch.compile traces: it is Python of its own."""
    return torch.compiler.disable(function)  # type: ignore[return-value]


class Calls:
    """Hooks on the model and on every part of it that holds a site, which call `refresh`.

    The hooks are methods of this object: a copy of the model comes with hooks of its own adapter.
    Only nn.DataParallel copies without it; there the copy of the whole model finds the copy of the
    adapter among its children.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        sites: Mapping[str, Site],
        refresh: Callable[[Mapping[str, Site]], None],
    ) -> None:
        self._name, self._all, self._refresh = name, sites, refresh
        self._outermost: str | None = None
        self._with_gradients = False
        self._without: set[str] = set()
        """parts that ran without gradients when they were called last, while others had them:
        reentrant checkpointing does so
        """
        self._hooks: list[RemovableHandle] = []
        for name, module in _parts(model).items():
            self._hooks += [
                module.register_forward_pre_hook(partial(self._enter, name)),
                module.register_forward_hook(partial(self._leave, name), always_call=True),
            ]

    def forget(self) -> None:
        """Takes the hooks off, and lets go of the adapter, whose memory is then free at once."""
        for hook in self._hooks:
            hook.remove()
        self._refresh = _forgotten

    def _enter(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if getattr(module, "_is_replica", False):
            if not name:  # its parts were served with it
                adapter: Any = getattr(module, self._name)
                adapter.refresh(_sites(module))
            return
        if self._outermost not in (None, name):
            self._inside(name, inputs)
            return
        # A module that enters twice was interrupted. Checkpointing calls parts again in backward,
        # for the updates they had; or, where it is reentrant, for a graph of their own.
        if _in_backward():
            if name in self._without:
                self._outermost = name
                self._refresh(_sites(module))
            return
        self._outermost, self._with_gradients = name, torch.is_grad_enabled()
        self._note(name)
        self._refresh(self._all)

    def _note(self, name: str) -> None:
        """Whether a part runs without gradients, as it does in reentrant checkpointing."""
        if not torch.is_grad_enabled():
            self._without.add(name)
        elif not _in_backward():
            self._without.discard(name)

    def _inside(self, name: str, inputs: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling() or not self._with_gradients:
            return
        if torch.is_grad_enabled():
            self._note(name)
            return
        within = any(name.startswith(f"{part}.") for part in self._without if part)
        self._note(name)
        needed = any(isinstance(one, Tensor) and one.requires_grad for one in inputs)
        if not within and not needed and _in_reentrant_checkpoint():
            raise QuestionError(
                "gradient checkpointing with use_reentrant=True gives this adapter no gradients, "
                "as nothing that enters the checkpointed part needs one: pass "
                "gradient_checkpointing_kwargs={'use_reentrant': False}, or call "
                "model.enable_input_require_grads()."
            )

    def _leave(self, name: str, module: nn.Module, inputs: object, output: object) -> None:
        is_replica = getattr(module, "_is_replica", False)
        if is_replica and not name:
            _check_called(_sites(module))
        if is_replica or self._outermost != name:
            return
        self._outermost = None
        if output is not None:  # None: the call failed
            _check_called(self._all)


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    """The model, its sites and what lies between, by name; wrappers left out."""
    names = {
        ".".join(path[:depth])
        for path in (name.split(".") for name, one in model.named_modules() if _is_site(one))
        for depth in range(len(path) + 1)
    }
    parts = {name: model.get_submodule(name) for name in sorted(names)}
    return {name: part for name, part in parts.items() if type(part).__name__ not in WRAPPERS}


def _is_site(module: nn.Module) -> bool:
    return isinstance(module, Site)


def _sites(module: nn.Module) -> dict[str, Site]:
    """The sites in a module, itself included, by their names in the model."""
    return {one.name: one for one in module.modules() if isinstance(one, Site)}


@not_compiled
def _check_called(sites: Mapping[str, Site]) -> None:
    for site in sites.values():
        if site.is_read and not site.is_called:
            raise QuestionError(
                f"{site.name} is never called: the module around it computes with its weight, so "
                "the adapter there does nothing. Leave it out of targets."
            )


def _in_backward() -> bool:
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _in_reentrant_checkpoint() -> bool:
    frame = sys._getframe()
    while frame := frame.f_back:
        if frame.f_code.co_qualname == "CheckpointFunction.forward":
            return True
    return False


def _forgotten(sites: Mapping[str, Site]) -> None:
    """In the place of a detached adapter's refresh."""
