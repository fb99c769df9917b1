"""What several decompositions are put together from: axes cut or put in a row, factors of one."""

import math

from tenslora_search.spec.form import Axis, Factor, bond
from tenslora_search.spec.geometry import STACKED


def tall(mode: Axis) -> Factor:
    return Factor(mode.name, (mode, bond(f"r_{mode.name}")), "orthonormal", (mode.name,))


def along(modes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The modes as a chain meets them: input, then layer, projection, head, then the output."""
    return (modes[0], *reversed(modes[2:]), modes[1])


def chain(modes: tuple[Axis, ...]) -> tuple[Factor, ...]:
    bonds = [bond(f"r_{k}") for k in range(1, len(modes))]
    cores = [Factor(modes[0].name, (modes[0], bonds[0]), "uniform", (modes[0].name,))]
    for mode, before, after in zip(modes[1:], bonds, bonds[1:], strict=False):
        cores.append(Factor(mode.name, (before, mode, after), "normal", (before.name,)))
    return (*cores, Factor(modes[-1].name, (bonds[-1], modes[-1])))


def split(mode: Axis, n: int) -> tuple[Axis, ...]:
    """`n` parts, the first the slowest, whose sizes are as close as the divisors allow, smallest
    first: 768 = 24 x 32 = 8 x 8 x 12 = 4 x 4 x 6 x 8.

    Of a prime all but one are 1: every shape group then has the same bonds.
    """
    assert mode.size is not None
    sizes, rest = list[int](), mode.size
    for left in range(n, 1, -1):
        sizes.append(max(k for k in range(1, rest + 1) if rest % k == 0 and k**left <= rest))
        rest //= sizes[-1]
    return tuple(Axis(f"{mode.name}:{k}", size) for k, size in enumerate([*sizes, rest], 1))


def sliced(mode: Axis, width: Axis) -> tuple[tuple[Axis, ...], Axis]:
    """A mode some times as wide as another, as (the slices,) and a mode of that width; else none
    and itself. FacT and CaRA cut the wide maps of an MLP so.
    """
    assert mode.size is not None
    assert width.size is not None
    if mode.size % width.size or mode.size == width.size:
        return (), mode
    return (Axis(f"{mode.name}:1", mode.size // width.size),), Axis(f"{mode.name}:2", width.size)


def stacked_and_heads(modes: tuple[Axis, ...]) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """What stands after input and output: the stacked modes, and the heads."""
    stacked = tuple(mode for mode in modes[2:] if mode.name in STACKED)
    return stacked, tuple(mode for mode in modes[2:] if mode.name not in STACKED)


def length(axes: tuple[Axis, ...]) -> int:
    """The product of the sizes of modes."""
    return math.prod(axis.size for axis in axes if axis.size is not None)
