"""Terms that are learnt one after the other, in links of a chain."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.form import (
    OUTPUT_MODES,
    Axis,
    Care,
    Factor,
    Form,
    Learner,
    Made,
    Rule,
    bond,
)
from tenslora_search.spec.knobs import Range

if TYPE_CHECKING:
    from torch import Tensor


def rac_lora(modes: tuple[Axis, ...], *, links: Annotated[int, Range(1, 16, log=True)] = 4) -> Form:
    """LoRA in `links` links, one learnt after the other: W = sum_t A_t B_t, A_t drawn and frozen.

    The r terms are cut into links, of r / links each (of one each where r is less). One link learns
    at a time, B_t from zero, while those before it rest; between two the warm-up, the schedule and
    Adam (its step count and moments) begin anew, for the task head too. Links are equally long.
    Nothing is merged into the weights, which a pack shares: all links are stored, and the budget
    counts B_t of all of them. The update is LoRA of rank r, and is exported so; A comes from the
    seed. The factor `link` says which one learns. No weight decay: what rests would shrink.
    Reference: RAC-LoRA, arXiv 2410.08305; the frozen side A, N(0, s^2) entries and the reset are
    those of EliCaden/Beyond_LoRA at 18a98e2. That the rank is that of all links is ours.
    """
    rank, rest = bond("r"), modes[1:]
    inner = Factor("input", (modes[0], rank), "normal", ("input",), frozen=True)
    outer = Factor("output", (*rest, rank))
    return Form(
        factors=(inner, outer),
        trained=(inner, outer, Factor("link", (Axis("chain", 1),), "ones", frozen=True)),
        make=partial(_one_learns, links=links),
        rule=Rule(
            care=lambda factor: Care(decays=False),
            between=partial(_next_link, links=links),
            links=links,
            restarts=True,
        ),
        first_step=lambda sizes: math.sqrt(
            -(-sizes["r"] // links)
            * math.prod(sizes[name] for name in OUTPUT_MODES if name in sizes)
        ),
    )


def _next_link(learner: Learner, *, links: int) -> None:
    """Counts one on."""
    length = -(-learner.n_steps // links)
    for factor in learner.factors:
        if factor.name == "link":
            for value in learner.value(factor):
                value.fill_(int(learner.step) // length + 1)


def _one_learns(trained: Made, *, links: int) -> Made:
    """The whole chain; gradients reach the terms of the link that learns."""
    import torch

    outer, link = trained["output"], trained["link"]
    rank = outer.shape[-1]
    places = torch.arange(rank, device=outer.device)
    owner = 1 + (places * min(links, rank)).div(rank, rounding_mode="floor")
    learns = owner == link  # (copy, r)
    learns = learns.reshape(len(outer), *(1,) * (outer.ndim - 2), rank)
    whole: Tensor = torch.where(learns, outer, outer.detach())
    return {"input": trained["input"], "output": whole}
