"""Updates whose norm is bounded, whatever is learnt."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.form import Axis, Factor, Form, Made, bond
from tenslora_search.spec.knobs import Range

if TYPE_CHECKING:
    from torch import Tensor


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
