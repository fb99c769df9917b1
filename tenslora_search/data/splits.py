"""cut(): a stratified, seeded share of the rows; equal inputs always fall on the same side."""

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 2000
SHARE = 0.15
FEW_ROWS = 200
LARGEST_SHARE = 0.3


def held_out_size(n_rows: int) -> int:
    """Rows to hold out of n_rows: 15 %, at most 2,000; of small sets up to 200 rows, but never more
    than 30 %.
    """
    return int(min(MOST_ROWS, max(SHARE * n_rows, min(FEW_ROWS, LARGEST_SHARE * n_rows))))


def cut(
    groups: NDArray, strata: NDArray, n_rows: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Take about n_rows rows: (n,) bool. Rows of one group (equal inputs) are taken together or not
    at all.

    Each stratum gives its share, at least one group, and keeps at least one; a stratum of one group
    is not cut. groups: (n,) integers from 0, none left out; strata: (n,), a group counts to the
    stratum of its first row.
    """
    first_rows = np.unique(groups, return_index=True)[1]
    group_sizes, group_strata = np.bincount(groups), strata[first_rows]
    taken = np.zeros(len(group_sizes), dtype=bool)
    for stratum in np.unique(group_strata):
        members = generator.permutation(np.flatnonzero(group_strata == stratum))
        if len(members) < 2:
            continue
        quota = n_rows * group_sizes[members].sum() / len(groups)
        chosen = _within(members, group_sizes[members], quota)[: len(members) - 1]
        taken[chosen or [members[group_sizes[members].argmin()]]] = True
    return taken[groups]


def _within(members: NDArray, sizes: NDArray, quota: float) -> list[int]:
    """The members, in their order, that find room below the quota."""
    chosen: list[int] = []
    total = 0
    for member, size in zip(members.tolist(), sizes.tolist(), strict=True):
        if total + size <= quota:
            chosen.append(member)
            total += size
    return chosen
