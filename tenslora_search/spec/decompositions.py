"""DECOMPOSITIONS: the modes of a tensor -> factors with named axes. A name that is no mode is a
bond; its size is a rank.

Count and contraction follow from the names (`network.py`). Exactly one factor starts at zero, so
every update does too. The factors that hold the input's axes never hold the output's: each update
is then a low-rank pair.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.form import Axis, Care, Factor, Form, Made, Rule, bond
from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.table import Table

if TYPE_CHECKING:
    from torch import Tensor


def cp(modes: tuple[Axis, ...]) -> Form:
    """A sum of r rank-one terms: W = sum_r u_1[:, r] x ... x u_n[:, r]. Over two modes it is LoRA.

    The output (or head_dim) factor starts at zero. Stacked modes and heads start as random signs,
    so that every slice starts at the same size (with Kaiming a high rank would be nearly frozen:
    methods.md 2.7). Reference: Kolda and Bader, Tensor Decompositions and Applications, SIAM Review
    51(3), 2009; LoRTA, arXiv 2410.04060.
    """
    starts = {"input": ("uniform", ("input",)), modes[1].name: ("zero", ())}
    return Form(
        tuple(
            Factor(mode.name, (mode, bond("r")), *starts.get(mode.name, ("signs", ())))
            for mode in modes
        )
    )


def tucker(modes: tuple[Axis, ...]) -> Form:
    """A core with a factor a mode: W = G x_1 U_1 ... x_n U_n. Bonds r_mode, one a mode.

    The core starts at zero, the factors have orthonormal columns.
    Reference: Tucker, Psychometrika 31(3), 1966; TensLoRA, arXiv 2509.19391.
    """
    factors = tuple(_tall(mode) for mode in modes)
    return Form((*factors, Factor("core", tuple(factor.axes[1] for factor in factors))))


def tucker2(modes: tuple[Axis, ...]) -> Form:
    """Tucker whose heads and stacked modes keep their own index: a full r_input x r_output matrix a
    slice.

    Bonds r_input and r_output (r_head_dim). The core starts at zero.
    Reference: LoTR, arXiv 2402.01376 (construction `depth`); FacT-TT, arXiv 2212.03145.
    """
    left, right = _tall(modes[0]), _tall(modes[1])
    return Form((left, right, Factor("core", (left.axes[1], right.axes[1], *modes[2:]))))


def tensor_train(modes: tuple[Axis, ...]) -> Form:
    """A chain of cores, one a mode: W[i_1, ..., i_n] = G_1[i_1] G_2[i_2] ... G_n[i_n].

    The chain runs input, layer, projection, head, output (head_dim), so that the wide modes stand
    at its ends; bonds r_1 to r_(n-1) in that order. The output core starts at zero, the input core
    as LoRA's. Reference: Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33(5), 2011;
    MetaTT, arXiv 2506.09105.
    """
    return Form(_chain(_along(modes)))


def tensor_ring(modes: tuple[Axis, ...]) -> Form:
    """A tensor train whose ends are joined: W[i_1, ..., i_n] = trace(G_1[i_1] ... G_n[i_n]).

    Bonds r_1 to r_(n-1) along the chain, then r_ring, which joins output to input. The output core
    starts at zero. Reference: Zhao et al., Tensor Ring Decomposition, arXiv 1606.05535.
    """
    first, *middle, last = _chain(_along(modes))
    ring = bond("r_ring")
    return Form(
        (
            Factor(first.name, (*first.axes, ring), first.start, first.fan),
            *middle,
            Factor(last.name, (*last.axes, ring), last.start, last.fan),
        )
    )


def block_term(modes: tuple[Axis, ...]) -> Form:
    """A sum of Tucker terms: W = sum_b G_b x_1 U_1b ... x_n U_nb. One block is Tucker; ranks 1 are
    CP with trained weights.

    Bonds r_mode, one a mode, then `blocks`. The cores start at zero, the factors have orthonormal
    columns in each block. Reference: De Lathauwer, Decompositions of a Higher-Order Tensor in Block
    Terms II, SIAM J. Matrix Anal. 30(3), 2008.
    """
    blocks = bond("blocks")
    *tall, core = tucker(modes).factors
    return Form(
        tuple(
            Factor(factor.name, (*factor.axes, blocks), factor.start, factor.fan)
            for factor in (*tall, core)
        )
    )


def tensorised_tt(modes: tuple[Axis, ...]) -> Form:
    """A tensor train over reshaped weights: input and output are cut into two balanced parts, a
    core each.

    768 = 24 x 32. The chain runs input:1, input:2, layer, projection, head, output:1, output:2;
    bonds r_1, r_2, ... along it. Input parts stand before output parts, so the update is a pair
    whose rank is the smallest bond between them. The last core starts at zero. Reference: TT-LoRA,
    arXiv 2408.01008; LoRETTA, arXiv 2402.11417.
    """
    first, *middle, last = _along(modes)
    return Form(_chain((*_halves(first), *middle, *_halves(last))))


def sora(
    modes: tuple[Axis, ...],
    *,
    xi: Annotated[float, Range(1e-5, 1e-2, log=True)] = 3e-4,
    threshold: Annotated[str, Choice(("fixed", "fading"))] = "fixed",
) -> Form:
    """CP with a gate on each term: W = sum_r g[r] u_1[:, r] x ... x u_n[:, r]; training shuts some.

    After each step every gate moves `xi` towards 0 and stays there if it would pass it; a `fading`
    threshold is `xi` times the schedule's share of the learning rate (the paper's eta_t lambda with
    lambda = xi / learning rate). Gates start from N(0, 1) and know no weight decay; the output
    factor starts at zero. The budget counts all gates, shut or not.
    Reference: SoRA, arXiv 2311.11696; both its published files subtract xi and then zero what is
    below xi, a dead zone of 2 xi: this is the proximal step itself.
    """
    name = "shrink" if threshold == "fixed" else "fading_shrink"
    gates = Care(decays=False)._replace(**{name: xi})
    rule = Rule(care=lambda factor: gates if factor.name == "gate" else Care())
    return Form((*cp(modes).factors, Factor("gate", (bond("r"),), "normal")), rule=rule)


def nb_lora(
    modes: tuple[Axis, ...],
    *,
    delta: Annotated[float, Range(1e-2, 1e2, log=True)] = 1.0,
    p: Annotated[float, Range(1.0, 16.0)] = 2.0,
    eta: Annotated[float, Range(1e-2, 1e2, log=True)] = 1.0,
) -> Form:
    """W = 2 A^T diag(s) B with A A^T + B B^T = I: its Schatten-p norm never exceeds `delta`.

    Trained are A~, B~ and v; A and B are their Cayley transform, s = delta softmax(v / eta)^(1/p),
    so the j-th singular value is at most the j-th largest s. Over stacked modes and heads A is
    shared and B stands for input x all others, unfolded: the bound holds for the unfolding, and so
    for each slice of it. A~ starts at zero and B~ with orthonormal rows, which makes W zero. The
    form bounds itself, so no scale is applied: with p = 2 Adam's first step moves a map by some
    2 delta sqrt(input) rates whatever the rank, LoRA's by sqrt(8 output / 3).
    Reference: Norm-Bounded Low-Rank Adaptation, arXiv 2501.19050.
    """
    rank, rest = bond("r"), modes[1:]
    fan = tuple(mode.name for mode in rest)
    inner = Factor("input", (modes[0], rank))
    outer = Factor("output", (*rest, rank), "orthonormal", fan)
    return Form(
        factors=(inner, outer, Factor("diagonal", (rank,), "ones")),
        trained=(inner, outer, Factor("bounds", (rank,), "ones")),
        make=partial(_cayley, delta=delta, p=p, eta=eta),
        scaled=False,
    )


def _cayley(trained: Made, *, delta: float, p: float, eta: float) -> Made:
    """A, B and 2 s of `nb_lora`: with [A~^T; B~^T] = [U; V], U square, and Z = U - U^T + V^T V,
    [A^T; B^T] = [2 (I + Z)^-1 - I; -2 V (I + Z)^-1].

    I + Z is never singular, as its symmetric part is I + V^T V.
    """
    import torch

    inner, outer = trained["input"], trained["output"]
    n_input, rank = inner.shape[1:]
    stacked = torch.cat([inner, outer.flatten(1, -2)], 1)
    top, rest = stacked[:, :rank], stacked[:, rank:]
    eye = torch.eye(rank, dtype=stacked.dtype, device=stacked.device)
    z = top - top.mT + rest.mT @ rest
    inverse = _inverse(eye + z)
    columns = torch.cat([2 * inverse - eye, -2 * rest @ inverse], 1)
    bounds = delta * torch.softmax(trained["bounds"] / eta, -1) ** (1 / p)
    return {
        "input": columns[:, :n_input],
        "output": columns[:, n_input:].reshape(outer.shape),
        "diagonal": 2 * bounds,
    }


def _inverse(square: "Tensor") -> "Tensor":  # (copy, n, n) -> (copy, n, n)
    """The inverse of matrices whose symmetric part is positive definite, as a CUDA graph can hold.

    Unchecked, and of at most INVERTED rows at a time: larger ones are not recorded. Beyond, by the
    Schur complement of the first half, whose symmetric part is positive definite too.
    """
    import torch

    n = square.shape[-1]
    if n <= INVERTED:
        return torch.linalg.inv_ex(square)[0]  # pyright: ignore
    half = n // 2
    a, b = square[:, :half, :half], square[:, :half, half:]
    c, d = square[:, half:, :half], square[:, half:, half:]
    first = _inverse(a)
    left, right = c @ first, first @ b
    rest = _inverse(d - left @ b)
    top = torch.cat([first + right @ rest @ left, -right @ rest], -1)
    return torch.cat([top, torch.cat([-rest @ left, rest], -1)], -2)


INVERTED = 128
"""Rows up to which cuSOLVER's batched inverse is recorded; with 200 it ended the recording on an
H100 (torch 2.11).
"""


def _tall(mode: Axis) -> Factor:
    return Factor(mode.name, (mode, bond(f"r_{mode.name}")), "orthonormal", (mode.name,))


def _along(modes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The modes as a chain meets them: input, then layer, projection, head, then the output."""
    return (modes[0], *reversed(modes[2:]), modes[1])


def _chain(modes: tuple[Axis, ...]) -> tuple[Factor, ...]:
    bonds = [bond(f"r_{k}") for k in range(1, len(modes))]
    cores = [Factor(modes[0].name, (modes[0], bonds[0]), "uniform", (modes[0].name,))]
    for mode, before, after in zip(modes[1:], bonds, bonds[1:], strict=False):
        cores.append(Factor(mode.name, (before, mode, after), "normal", (before.name,)))
    return (*cores, Factor(modes[-1].name, (bonds[-1], modes[-1])))


def _halves(mode: Axis) -> tuple[Axis, ...]:
    """Two parts whose sizes are as close as the divisors allow.

    A prime is 1 x itself: every shape group then has the same bonds.
    """
    assert mode.size is not None
    small = max(n for n in range(1, math.isqrt(mode.size) + 1) if mode.size % n == 0)
    return (Axis(f"{mode.name}:1", small), Axis(f"{mode.name}:2", mode.size // small))


DECOMPOSITIONS: Table[Callable[..., Form]] = Table(
    "decomposition",
    {
        entry.__name__: entry
        for entry in (
            cp,
            tucker,
            tucker2,
            tensor_train,
            tensor_ring,
            block_term,
            tensorised_tt,
            sora,
            nb_lora,
        )
    },
)
