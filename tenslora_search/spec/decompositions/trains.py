"""Low-rank pairs whose factors are tensor trains, or made by one."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from tenslora_search.spec.decompositions.parts import length, split, stacked_and_heads
from tenslora_search.spec.form import Axis, Factor, Form, Made, bond
from tenslora_search.spec.knobs import Range


def loretta(modes: tuple[Axis, ...]) -> Form:
    """LoRA whose A and B are tensor trains: A[i_1 i_2 i_3, r] = G_1[i_1] G_2[i_2] G_3[i_3] G_4, and
    B alike, from r to the output.

    Input and output are cut into three balanced parts (768 = 8 x 8 x 12); B also runs through
    layers, projections and heads that the construction spans. Bonds a_1, a_2, a_3, r, b_1, ... in
    that order; r is at most its neighbours, as more would be dead weight (r 8 at a TT rank of 5,
    as in its code, is a rank of 5). The last core starts at zero: ours, as the code's start is not
    zero. Reference: LoRETTA (rep), arXiv 2402.11417; code yifanycc/loretta, whose table of shapes
    is unread.
    """
    inner, outer = split(modes[0], 3), (*reversed(modes[2:]), *split(modes[1], 3))
    down = [bond(f"a_{k}") for k in range(1, 4)]
    up = [bond(f"b_{k}") for k in range(1, len(outer) + 1)]
    r = bond("r")
    return Form(
        (
            Factor(inner[0].name, (inner[0], down[0]), "uniform", (inner[0].name,)),
            *_cores(inner[1:], down),
            Factor("down", (down[-1], r), "normal", (down[-1].name,)),
            Factor("up", (r, up[0]), "normal", ("r",)),
            *_cores(outer[:-1], up),
            Factor(outer[-1].name, (up[-1], outer[-1])),
        )
    )


def _cores(modes: tuple[Axis, ...], bonds: list[Axis]) -> tuple[Factor, ...]:
    """A core a mode, between two bonds that follow each other."""
    return tuple(
        Factor(mode.name, (before, mode, after), "normal", (before.name,))
        for mode, before, after in zip(modes, bonds, bonds[1:], strict=False)
    )


def tensor_guide(
    modes: tuple[Axis, ...], *, inner: Annotated[int, Range(1, 32, log=True)] = 4
) -> Form:
    """One tensor train of fixed random numbers makes both factors of LoRA: [A; B] = TT(z), W =
    A^T B.

    The train has cores for the side (rows of the input, then of the output and all that is
    stacked), for two balanced parts of the width, and between them one for the rank; bonds of
    `inner`. So r beyond `inner` squared is dead weight, and is refused. Counted are the cores.
    Reference: TensorGuide, arXiv 2506.16456, and jqi41/TT2LoRA at 970f2b5: cores (b, n, m, b) with
    n 1, 2, 2, 1 from a fixed z, one for both factors. Ours: the start at zero (the output's rows of
    the first core; the code has .01 of it), z of signs, so that every draw has one norm, cores of
    unit gain where the code has .1 N(0, 1), and the place of the rank.
    """
    r, (stacked, heads) = bond("r"), stacked_and_heads(modes)
    side, rest = modes[:1], (*stacked, *heads, modes[1])
    width = math.gcd(length(side), length(rest))
    one, two, three = (Axis(f"b_{k}", inner) for k in (1, 2, 3))
    n_1, n_2 = Axis("n_1", 2), Axis("n_2", 2)
    m_1, m_2 = split(Axis("width", width), 2)
    return Form(
        factors=(Factor("input", (modes[0], r)), Factor("output", (*rest, r), "normal")),
        trained=(
            Factor("noise", (n_1, n_2), "signs", frozen=True),
            Factor("input_rows", (Axis("of_input", length(side) // width), one), "normal"),
            Factor("output_rows", (Axis("of_output", length(rest) // width), one)),
            Factor("first", (one, n_1, m_1, two), "normal", ("b_1", "n_1")),
            Factor("ranks", (two, r, three), "normal", ("b_2",)),
            Factor("second", (three, n_2, m_2), "normal", ("b_3", "n_2")),
        ),
        make=partial(_guided, rest=tuple(axis.size or 1 for axis in rest)),
        first_step=partial(
            _guided_step, inner=inner, map_size=length(side) * length((*heads, modes[1]))
        ),
        limits={"r": inner**2},
    )


def _guided_step(sizes: Mapping[str, int], *, inner: int, map_size: int) -> float:
    """A and B share all cores but the rows': r terms, and what any two of them have in common."""
    r = sizes["r"]
    return math.sqrt(map_size * (r + r * (r - 1) / inner**2))


def _guided(trained: Made, *, rest: tuple[int, ...]) -> Made:
    """A and B of `tensor_guide`."""
    import torch

    z, first, second = trained["noise"], trained["first"], trained["second"]
    left = torch.einsum("cnm,cbnxk->cbmxk", z, first)
    middle = torch.einsum("cbmxk,ckrl->cbmxrl", left, trained["ranks"])
    train = torch.einsum("cbmxrl,clmy->cbxyr", middle, second)
    inner, outer = (
        torch.einsum("csb,cbxyr->csxyr", trained[rows], train).flatten(1, 3)
        for rows in ("input_rows", "output_rows")
    )
    return {"input": inner, "output": outer.reshape(len(outer), *rest, -1)}
