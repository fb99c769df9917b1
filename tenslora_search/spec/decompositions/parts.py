"""What several decompositions are put together from: axes cut or put in a row, factors of one."""

import math

from tenslora_search.spec.form import Axis, Factor, bond


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


def halves(mode: Axis) -> tuple[Axis, ...]:
    """Two parts whose sizes are as close as the divisors allow.

    A prime is 1 x itself: every shape group then has the same bonds.
    """
    assert mode.size is not None
    small = max(n for n in range(1, math.isqrt(mode.size) + 1) if mode.size % n == 0)
    return (Axis(f"{mode.name}:1", small), Axis(f"{mode.name}:2", mode.size // small))
