"""Pairs: an adapter as one low-rank pair a map, in the ranks that a server takes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from tenslora_search.nn.attach import Adapter
from tenslora_search.nn.sites import Place, of_columns
from tenslora_search.spec.served import Served, server_rank
from tenslora_search.spec.table import QuestionError

Pair = tuple[Tensor, Tensor]
"""A (input, rank) and B (rank, output), float32 on the CPU."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """What the ranks of a checkpoint are to be.

    `most`: every pair is compressed to this rank, the nearest one (truncated SVD). `uniform`: all
    are padded with zeros to one rank, the least of `SERVER_RANKS` that holds them.
    """

    most: int | None = None
    uniform: bool = False

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise QuestionError(f"--rank is a whole number of 1 or more; got {self.most}.")

    def of(self, pairs: Mapping[str, Pair]) -> dict[str, Pair]:
        """The pairs in these ranks."""
        most = self.most
        found = {name: compressed(*pair, most) if most else pair for name, pair in pairs.items()}
        if not self.uniform:
            return found
        rank = server_rank(max(a.shape[1] for a, _ in found.values()))
        return {name: padded(*pair, rank) for name, pair in found.items()}


def module_pairs(adapter: Adapter, trial: int = 0) -> dict[str, Pair]:
    """For each adapted module one pair over all its outputs, of one trial whose update is of low
    rank.

    Blocks of a fused map share A where it is the same, else stack. The rank is at most the smaller
    side of the map.
    """
    parts: dict[str, list[tuple[Place, Pair]]] = {}
    with torch.no_grad():
        for (projection, layer), (a, b) in adapter.updates(trial).items():
            place = adapter.places[projection][layer]
            pair = _without_padding(a.cpu(), b.cpu())
            parts.setdefault(place.module, []).append((place, pair))
        return {module: reduced(*_joined(found)) for module, found in parts.items()}


def reduced(a: Tensor, b: Tensor) -> Pair:
    """The same product with a rank of at most either side: A = Q R, so A B = Q (R B), in float64.

    A tensor's slice may have a larger bond than its map has inputs: CP with rank 686 over maps of
    384 x 384.
    """
    if a.shape[1] <= min(a.shape[0], b.shape[1]):
        return a, b
    if a.shape[0] <= b.shape[1]:
        q, r = torch.linalg.qr(a.double())
        return q.float(), (r @ b.double()).float()
    q, r = torch.linalg.qr(b.double().T)
    return (a.double() @ r.T).float(), q.T.float()


def compressed(a: Tensor, b: Tensor, rank: int) -> Pair:
    """The nearest product of a rank of at most `rank`: A B = Q_a (R_a R_b^T) Q_b^T, whose small
    middle is cut by an SVD, in float64. The singular values are shared out evenly.
    """
    if a.shape[1] <= rank:
        return a, b
    q_a, r_a = torch.linalg.qr(a.double())
    q_b, r_b = torch.linalg.qr(b.double().T)
    u, sizes, v = torch.linalg.svd(r_a @ r_b.T)
    roots = sizes[:rank].sqrt()
    return (q_a @ u[:, :rank] * roots).float(), (roots[:, None] * v[:rank] @ q_b.T).float()


def padded(a: Tensor, b: Tensor, rank: int) -> Pair:
    """The same product with zeros up to a rank."""
    missing = rank - a.shape[1]
    return pad(a, (0, missing)), pad(b, (0, 0, 0, missing))


def served_pairs(pairs: Mapping[str, Pair]) -> Served:
    """What a server makes of them."""
    n_params = sum(a.numel() + b.numel() for a, b in pairs.values())
    return Served(max(a.shape[1] for a, _ in pairs.values()), n_params, n_params)


def add_to_weights(adapter: Adapter, pairs: Mapping[str, Pair]) -> None:
    """Takes the adapter off and adds the pairs to the weights of its maps, in their own type."""
    maps = {name: adapter.sites[name].frozen for name in pairs}
    adapter.detach()
    with torch.no_grad():
        for name, (a, b) in pairs.items():
            weight: Tensor = maps[name].weight  # type: ignore[assignment]
            stored = weight.T if isinstance(maps[name], torch.nn.Linear) else weight
            stored += (a.double() @ b.double()).to(stored)


def _without_padding(a: Tensor, b: Tensor) -> Pair:
    """Less the rank columns that are zero on both sides."""
    used = a.any(0) | b.any(1)
    used[0] = True  # an untrained pair of rank 0 would be no pair
    return a[:, used], b[used]


def _joined(parts: list[tuple[Place, Pair]]) -> Pair:
    """One pair over all outputs of a map, from pairs over some columns each."""
    shared = all(torch.equal(parts[0][1][0], a) for _, (a, _) in parts)
    ranks = [b.shape[0] for _, (_, b) in parts]
    whole = torch.zeros(ranks[0] if shared else sum(ranks), parts[0][0].outputs)
    row = 0
    for place, (_, b) in parts:
        target = of_columns(whole[row : row + b.shape[0]], place.columns)
        target.copy_(b.view(target.shape))
        row += 0 if shared else b.shape[0]
    return parts[0][1][0] if shared else torch.cat([a for _, (a, _) in parts], 1), whole
