"""LAYOUTS: where query, key and value lie among the outputs of one fused map."""

from collections.abc import Callable
from typing import NamedTuple

from tenslora_search.spec.table import Table


class Columns(NamedTuple):
    """Which outputs of a map belong to a projection: in each of `runs` equal runs of outputs,
    `width` of them from `start` on.
    """

    start: int
    width: int
    runs: int = 1


def blocks(projection: str, heads: int, kv_heads: int, head_dim: int) -> Columns:
    """All queries, then all keys, then all values: `[q | k | v]`, as in GPT-2 and Phi-3."""
    query, other = heads * head_dim, kv_heads * head_dim
    return {
        "query": Columns(0, query),
        "key": Columns(query, other),
        "value": Columns(query + other, other),
    }[projection]


def groups(projection: str, heads: int, kv_heads: int, head_dim: int) -> Columns:
    """For each key/value head its query heads, its key and its value, as in Falcon; head by head
    where every query has a key of its own, as in BLOOM and GPT-NeoX.
    """
    queries = heads // kv_heads * head_dim
    return {
        "query": Columns(0, queries, kv_heads),
        "key": Columns(queries, head_dim, kv_heads),
        "value": Columns(queries + head_dim, head_dim, kv_heads),
    }[projection]


Layout = Callable[[str, int, int, int], Columns]

LAYOUTS: Table[Layout] = Table("layout", {entry.__name__: entry for entry in (blocks, groups)})
"""(projection, heads, kv_heads, head_dim) -> its columns, by the word a pattern names it with."""
