"""Served: what an adapter is to whoever serves it, as LoRA or merged; by arithmetic."""

import math
from typing import NamedTuple

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError

SERVER_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM lets `--max-lora-rank` be (16 unless told), one rank for all maps."""
BYTES_A_PARAMETER = 4


class Served(NamedTuple):
    """An adapter as a LoRA checkpoint. A dense update is none: then all but the multiply-adds is
    None.
    """

    rank: int | None
    """the largest of any map, after the exact reduction to the map's smaller side"""
    n_params: int | None
    """of both matrices of all maps"""
    extra_macs: int
    """multiply-adds a token beyond x W while it is not merged; merged there are none"""

    @property
    def bytes(self) -> int | None:
        """In float32."""
        return None if self.n_params is None else BYTES_A_PARAMETER * self.n_params


def served(spec: AdapterSpec) -> Served:
    """What the adapter is served as: y = x W + (x A) B at every site, or x (W + D).

    >>> geometry = Geometry.attention(hidden=64, heads=4, layers=2)
    >>> served(AdapterSpec.of("none", "cp", 4, geometry))
    Served(rank=4, n_params=3072, extra_macs=3072)
    >>> served(AdapterSpec.of("att_qkv_depth", "cp", 200, geometry)).rank  # maps are 64 x 64
    64
    """
    largest, total, dense = 0, 0, 0
    for net, copies in zip(spec.networks, spec.copy_ranks, strict=True):
        group = net.group
        sites = len(group.projections) * group.layers // net.copies
        side = min(group.input, group.output)
        ranks = [min(side, net.slice_rank(one)) for one in copies]
        largest = max(largest, *ranks)
        total += sum(ranks) * sites * (group.input + group.output)
        dense += len(ranks) * sites * group.input * group.output
    return Served(largest, total, total) if spec.is_low_rank else Served(None, None, dense)


def server_rank(rank: int) -> int:
    """The least rank that servers take and that holds this one; `QuestionError` beyond the last.

    >>> server_rank(5), server_rank(33)
    (8, 64)
    """
    fitting = next((one for one in SERVER_RANKS if one >= rank), math.inf)
    if not math.isfinite(fitting):
        raise QuestionError(
            f"a map of this adapter has rank {rank:,}; servers take {SERVER_RANKS[-1]} at most. "
            f"--rank {SERVER_RANKS[-1]} compresses it, or export it as merged."
        )
    return int(fitting)
