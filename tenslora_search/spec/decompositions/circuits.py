"""High-rank updates: dense by themselves, and exported as merged or native alone."""

import math
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.decompositions.parts import length, split, stacked_and_heads
from tenslora_search.spec.form import Axis, Factor, Form, Made
from tenslora_search.spec.knobs import Choice

if TYPE_CHECKING:
    from torch import Tensor


def quanta(modes: tuple[Axis, ...], *, axes: Annotated[int, Choice((3, 4, 5))] = 4) -> Form:
    """A circuit of gates over a reshaped input, high rank: W = T_n ... T_1 - its first value, a
    gate for each two of `axes` parts of the width.

    No ranks: it counts sum (f_i f_j)^2 a map, f the parts; (8, 8, 12) for 768 is 22,528. Gates are
    a frozen start (uniform, Kaiming) and a trained change from zero, so weight decay draws to the
    start. Where input and output differ, the circuit has the wider one's width and W is its corner.
    Where a construction stacks, slices share all gates but the last: ours. The update is a dense
    product at every site. Reference: QuanTA, arXiv 2406.00132; code quanta-fine-tuning/quanta at
    14f02f4 (`sum_opposite_freeze_one`). Its paddings of non-square maps are unread.
    """
    stacked, heads = stacked_and_heads(modes)
    n_output = length((*heads, modes[1]))
    width = max(length(modes[:1]), n_output)
    sizes = tuple(length((part,)) for part in split(Axis("width", width), axes))
    pairs = tuple(combinations(range(axes), 2))
    starts, changes = list[Factor](), list[Factor]()
    for i, j in pairs:
        gate = tuple(Axis(f"{way}_{k}", sizes[k]) for way in ("from", "to") for k in (i, j))
        more = stacked if (i, j) == pairs[-1] else ()
        fan = tuple(axis.name for axis in gate[:2])
        starts.append(Factor(f"start_{i}_{j}", (*more, *gate), "uniform", fan, frozen=True))
        changes.append(Factor(f"gate_{i}_{j}", (*more, *gate)))
    squares = sum(sizes[i] * sizes[j] for i, j in pairs)
    share = length(modes[:1]) * n_output / width**2
    step = math.sqrt(width * squares * share / 3 ** (len(pairs) - 1))
    return Form(
        factors=(Factor("whole", (*stacked, modes[0], *heads, modes[1])),),
        trained=(*starts, *changes),
        make=partial(
            _circuit,
            sizes=sizes,
            ends=(length(modes[:1]), tuple(length((mode,)) for mode in (*heads, modes[1]))),
        ),
        starts_at_zero="every gate is its start and a change from it, which starts at zero",
        first_step=lambda _: step,
        dense=True,
    )


def _circuit(trained: Made, *, sizes: tuple[int, ...], ends: tuple[int, tuple[int, ...]]) -> Made:
    """The whole update of `quanta`: the corner of the circuit now, less that of its start."""
    pairs = list(combinations(range(len(sizes)), 2))
    starts = [trained[f"start_{i}_{j}"] for i, j in pairs]
    gates = [start + trained[f"gate_{i}_{j}"] for start, (i, j) in zip(starts, pairs, strict=True)]
    n_input, outputs = ends
    change = _applied(gates, pairs, sizes) - _applied(starts, pairs, sizes)
    corner = change[..., :n_input, : math.prod(outputs)]
    return {"whole": corner.reshape(*corner.shape[:-1], *outputs)}


def _applied(
    gates: "list[Tensor]", pairs: list[tuple[int, int]], sizes: tuple[int, ...]
) -> "Tensor":  # (copy, stacked..., width, width)
    """Every unit vector of the width through the gates, one after the other."""
    import torch

    n_lead, width = gates[-1].ndim - 4, math.prod(sizes)
    x = torch.eye(width, dtype=gates[0].dtype, device=gates[0].device)
    x = x.view(*(1,) * n_lead, width, *sizes)
    for gate, (i, j) in zip(gates, pairs, strict=True):
        matrix = gate.flatten(-2).flatten(-3, -2)  # (copy, stacked..., f_i f_j, f_i f_j)
        lead = (*matrix.shape[:-2], *(1,) * (n_lead + 2 - matrix.ndim))
        places = (n_lead + 1 + i, n_lead + 1 + j)
        turned = x.movedim(places, (-2, -1))
        made = turned.flatten(-2).flatten(n_lead, -2) @ matrix.view(*lead, *matrix.shape[-2:])
        made = made.view(*made.shape[:n_lead], *turned.shape[n_lead:])
        x = made.movedim((-2, -1), places)
    return x.flatten(-len(sizes))
