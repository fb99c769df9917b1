"""near_groups(): rows that are nearly the same get one number, so that no split holds both sides.

Texts: rows that share half of the word 4-grams of the shorter one, in the column that has the most
words (of pairs the premise). Images: those whose small copies are nearly equal.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.hub.images import opened
from tenslora_search.spec.table import QuestionError

GRAM = 4
"""Words in a row that two texts have in common by chance now and then only."""
SHARED = 0.5
"""Of the grams of the shorter of two rows: as many in common make them near."""
MOST_ROWS_OF_A_GRAM = 100
"""A gram that more rows have is a turn of phrase and tells nothing."""
MOST_GRAMS = 4_000_000
"""Beyond, rows are compared by every second, third, ... gram, the same ones in all rows."""
LARGEST_SHARE = 0.01
"""Of all rows that one group of near texts may have: chains of chance likenesses end there."""
LEAST_ROWS = 20
"""A group may have so many, however few rows there are: see FEW_ROWS_SHARE."""
FEW_ROWS_SHARE, FEW_ROWS = 0.2, 3
"""Of few rows, the share that a gram or a group may have, or so many rows: what more have is the
template that all are written by, such as a system prompt.
"""
SIDE = 16
"""Pixels along the side of an image's small copy."""
SAME_COLOUR, LEAST_CONTRAST = 4.0, 8.0
"""Of 255: small copies that differ by less on average are of one picture, saved twice; those that
vary by less within show nothing to be known by.
"""

Groups = NDArray[np.int64]
"""(n,): a number a row, from 0 in order of appearance."""


def near_groups(columns: Sequence[Sequence[Any]], equal: Groups) -> Groups:
    """Groups of near rows; equal rows, which have one number in `equal`, stay together.

    columns: (n_columns, n) texts, or one column of encoded images.
    """
    first = np.unique(equal, return_index=True)[1]  # one of each group of equal rows
    told = [column for column in columns if isinstance(column[0], str)]
    if isinstance(columns[0][0], bytes):
        near = _image_groups([columns[0][place] for place in first])
    elif not told:
        return equal
    else:
        texts = max(told, key=lambda column: sum(len(cell.split()) for cell in column))
        near = _text_groups([texts[place] for place in first])
    return in_order(near[np.searchsorted(equal[first], equal)])


def in_order(values: Iterable[Any]) -> Groups:
    """Equal values get one number, from 0 in order of appearance."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in values], dtype=np.int64)


def share_of_grams_in(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """(n,): of each text, the share of its grams that some of the others have; nan where it has
    none.
    """
    rows, grams = _grams([*texts, *others])
    is_mine = rows < len(texts)
    known = np.isin(grams[is_mine], np.unique(grams[~is_mine]))
    n_grams = np.bincount(rows[is_mine], minlength=len(texts))
    found = np.bincount(rows[is_mine], weights=known, minlength=len(texts))
    return np.where(n_grams > 0, found / np.maximum(n_grams, 1), np.nan)


def _text_groups(texts: Sequence[str]) -> Groups:
    rows, grams = _grams(texts)
    thinning = -(-len(grams) // MOST_GRAMS)
    if thinning > 1:
        is_kept = grams % np.uint64(thinning) == 0
        rows, grams = rows[is_kept], grams[is_kept]
    few = max(FEW_ROWS, int(FEW_ROWS_SHARE * len(texts)))
    pairs = _near_pairs(rows, grams, len(texts), min(MOST_ROWS_OF_A_GRAM, few))
    most = max(min(LEAST_ROWS, few), int(LARGEST_SHARE * len(texts)))
    return _joined(pairs, len(texts), lambda one, other: one + other <= most)


def _grams(texts: Sequence[str]) -> tuple[Groups, NDArray[np.uint64]]:
    """(row, gram) of each different gram of each row, a gram as a number; punctuation and case do
    not count.
    """
    words: dict[str, int] = {}
    told = [[words.setdefault(w, len(words)) for w in _words(text)] for text in texts]
    lengths = np.array([len(one) for one in told], dtype=np.int64)
    flat = np.fromiter((w for one in told for w in one), dtype=np.uint64, count=lengths.sum())
    row_of = np.repeat(np.arange(len(texts)), lengths)
    n = len(flat) - GRAM + 1
    if n < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    gram = np.zeros(n, dtype=np.uint64)
    for k in range(GRAM):
        gram = gram * np.uint64(0x9E3779B97F4A7C15) + flat[k : k + n] + np.uint64(1)
        gram ^= gram >> np.uint64(29)
    is_whole = row_of[:n] == row_of[GRAM - 1 :]
    found = np.unique(np.stack([row_of[:n][is_whole].astype(np.uint64), gram[is_whole]]), axis=1)
    return found[0].astype(np.int64), found[1]


def _words(text: str) -> list[str]:
    kept = "".join(sign if sign.isalnum() or sign == "'" else " " for sign in text.lower())
    return kept.split()


def _near_pairs(
    rows: Groups, grams: NDArray[np.uint64], n_rows: int, most_of_a_gram: int
) -> list[tuple[float, int, int]]:
    """(shared part of the shorter one, row, row), the most alike first; grams that more rows than
    `most_of_a_gram` have tell nothing.
    """
    from scipy.sparse import csr_matrix

    _, column, n_rows_of = np.unique(grams, return_inverse=True, return_counts=True)
    sizes = np.bincount(rows, minlength=n_rows)
    is_told = (n_rows_of[column] > 1) & (n_rows_of[column] <= most_of_a_gram)
    ones = np.ones(int(is_told.sum()), dtype=np.int32)
    table = csr_matrix(
        (ones, (rows[is_told], column[is_told])), shape=(n_rows, len(n_rows_of)), dtype=np.int32
    )
    common = (table @ table.T).tocoo()
    is_above = common.row < common.col
    left, right, shared = common.row[is_above], common.col[is_above], common.data[is_above]
    part = shared / np.minimum(sizes[left], sizes[right])
    is_near = part >= SHARED
    order = np.lexsort((right[is_near], left[is_near], -part[is_near]))
    cells = (part[is_near][order], left[is_near][order], right[is_near][order])
    return list(zip(*(one.tolist() for one in cells), strict=True))


def _joined(
    pairs: Iterable[tuple[float, int, int]], n_rows: int, may_join: Callable[[int, int], bool]
) -> Groups:
    """Groups of the pairs, joined one after the other where their sizes allow it."""
    parent, sizes = list(range(n_rows)), [1] * n_rows

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for _, one, other in pairs:
        low, high = sorted((root(one), root(other)))
        if low != high and may_join(sizes[low], sizes[high]):
            parent[high] = low
            sizes[low] += sizes[high]
    return np.array([root(row) for row in range(n_rows)], dtype=np.int64)


def _image_groups(images: Sequence[bytes]) -> Groups:
    """Candidates agree in a quarter of the signs of their differences from left to right."""
    small = np.stack([_small(image) for image in images])
    grey = small.mean(3)
    is_shown = grey.std((1, 2)) >= LEAST_CONTRAST
    signs = grey[:, :, 1:] > grey[:, :, :-1]
    places = signs[:, :: SIDE // 8, :: SIDE // 8].reshape(len(images), -1)
    pairs: dict[tuple[int, int], float] = {}
    for band in np.array_split(places, 4, axis=1):
        told = zip(map(bytes, np.packbits(band, axis=1)), is_shown, strict=True)
        buckets = in_order(bits if shown else place for place, (bits, shown) in enumerate(told))
        order = np.argsort(buckets, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(buckets[order])) + 1):
            if 1 < len(members) <= MOST_ROWS_OF_A_GRAM:
                for one, other in combinations(members.tolist(), 2):
                    pairs[one, other] = float(np.abs(small[one] - small[other]).mean())
    near = sorted((gap, *pair) for pair, gap in pairs.items() if gap < SAME_COLOUR)
    return _joined(near, len(images), lambda one, other: True)


def _small(image: bytes) -> NDArray[np.float32]:
    """(SIDE, SIDE, 3) colours; what cannot be read, of which the encoder tells, shows nothing."""
    try:
        return np.asarray(opened(image, "").resize((SIDE, SIDE)), dtype=np.float32)
    except QuestionError:
        return np.zeros((SIDE, SIDE, 3), dtype=np.float32)
