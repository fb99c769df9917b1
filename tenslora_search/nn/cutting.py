"""cut_down(): trained factors at smaller ranks, without training; it follows from their names.

A bond that is the only way between two parts of the factors is cut by the singular value
decomposition of what lies across it: of LoRA that is the SVD of each update, of a Tucker tensor the
HOSVD (De Lathauwer et al., SIAM J. Matrix Anal. 21(4), 2000), of a train TT-rounding (Oseledets,
SIAM J. Sci. Comput. 33(5), 2011). Of any other bond, such as CP's, the largest terms stay.
"""

from collections.abc import Mapping, Sequence

import opt_einsum
import torch
from torch import Tensor

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.form import Factor
from tenslora_search.spec.network import Network

Arrays = dict[str, Tensor]
"""Factors by name, each (*axes), of one copy."""


def cut_down(
    before: AdapterSpec, after: AdapterSpec, group: int, arrays: Mapping[str, Tensor]
) -> Arrays:
    """One shape group's factors `(*looped, *axes)` of `before`, as those of `after`, the same
    structure at smaller ranks; shorter copies end in zeros, as a trial's own do.
    """
    net = before.networks[group]
    n_looped = len(net.looped)
    looped = next(iter(arrays.values())).shape[:n_looped]
    flat = {
        name: one.reshape(net.copies, *one.shape[n_looped:]).double()
        for name, one in arrays.items()
    }
    widest = tuple(max(column) for column in zip(*after.copy_ranks[group], strict=True))
    found = {
        factor.name: torch.zeros(net.copies, *_shape(factor, net.sizes(widest)), dtype=torch.double)
        for factor in net.form.learnt
    }
    old, new = before.scales(group), after.scales(group)
    for copy in range(net.copies):
        own = {
            factor.name: flat[factor.name][copy][
                tuple(map(slice, _shape(factor, net.sizes(before.copy_ranks[group][copy]))))
            ]
            for factor in net.form.learnt
        }
        cut = _cut(net, own, dict(zip(net.bonds, after.copy_ranks[group][copy], strict=True)))
        first = next(iter(cut))
        cut[first] = cut[first] * (old[copy] / new[copy])
        for name, one in cut.items():
            found[name][copy][tuple(map(slice, one.shape))] = one
    return {name: one.float().reshape(*looped, *one.shape[1:]) for name, one in found.items()}


def _shape(factor: Factor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[axis.name] for axis in factor.axes)


def _cut(net: Network, arrays: Arrays, sizes: Mapping[str, int]) -> Arrays:
    """One copy at new sizes of its bonds, one bond after another."""
    for bond in net.bonds:
        carriers = [one for one in net.factors if bond in _names(one)]
        if arrays[carriers[0].name].shape[_names(carriers[0]).index(bond)] <= sizes[bond]:
            continue
        parts = _parts(net.factors, bond)
        if parts is None:
            arrays = _largest_terms(carriers, arrays, bond, sizes[bond])
        else:
            arrays = _svd(parts, arrays, bond, sizes[bond])
    return arrays


def _names(factor: Factor) -> list[str]:
    return [axis.name for axis in factor.axes]


def _parts(factors: Sequence[Factor], bond: str) -> tuple[list[Factor], list[Factor]] | None:
    """The factors on either side of a bond; None where it is not the only way between them, or
    joins more than two.
    """
    carriers = [one for one in factors if bond in _names(one)]
    if len(carriers) != 2:
        return None
    part, rest = [carriers[0]], [one for one in factors if one is not carriers[0]]
    reached = set(_names(carriers[0])) - {bond}
    while near := [one for one in rest if reached.intersection(_names(one))]:
        part += near
        rest = [one for one in rest if one not in near]
        reached |= {name for one in near for name in _names(one)} - {bond}
    return (part, rest) if carriers[1] in rest else None


def _svd(parts: tuple[list[Factor], list[Factor]], arrays: Arrays, bond: str, size: int) -> Arrays:
    """The best of this size: with X Y what lies across the bond, A = (X^T X)^(1/2), B = (Y
    Y^T)^(1/2) and A B = U S V^T, X' = X B V S^(-1/2) and Y' = S^(-1/2) U^T A Y.
    """
    a, b = (_root(_gram(part, arrays, bond)) for part in parts)
    u, s, vt = torch.linalg.svd(a @ b)
    weights = torch.where(s > 1e-12 * s[0].clamp_min(1e-300), s.rsqrt(), 0.0)[:size]
    changes = b @ vt[:size].T * weights, a @ u[:, :size] * weights
    found = dict(arrays)
    for part, change in zip(parts, changes, strict=True):
        carrier = next(one for one in part if bond in _names(one))
        place = _names(carrier).index(bond)
        whole = arrays[carrier.name].movedim(place, -1) @ change
        found[carrier.name] = whole.movedim(-1, place)
    return found


def _root(square: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(square)
    return vectors * values.clamp_min(0.0).sqrt() @ vectors.T


def _gram(part: Sequence[Factor], arrays: Arrays, bond: str) -> Tensor:
    """Of what a part holds, over all its other axes: (bond, bond)."""
    letters: dict[str, str] = {}
    terms: list[str] = []
    for primes in ("", "'"):
        for factor in part:
            # a bond within the part is summed in each of the two; what is open, in both together
            names = [f"{axis.name}{primes}" if axis.is_bond else axis.name for axis in factor.axes]
            for name in names:
                letters.setdefault(name, opt_einsum.get_symbol(len(letters)))
            terms.append("".join(letters[name] for name in names))
    ends = letters[bond] + letters[bond + "'"]
    operands = [arrays[factor.name] for factor in part] * 2
    return opt_einsum.contract(f"{','.join(terms)}->{ends}", *operands, backend="torch")


def _largest_terms(carriers: Sequence[Factor], arrays: Arrays, bond: str, size: int) -> Arrays:
    """The `size` terms whose factors' norms multiply to most, in their order."""
    found, norms = dict(arrays), torch.ones((), dtype=torch.double)
    for one in carriers:
        place = _names(one).index(bond)
        rows = arrays[one.name].movedim(place, 0)
        norms = norms * torch.linalg.vector_norm(rows.reshape(len(rows), -1), dim=1)
    kept = norms.topk(size).indices.sort().values
    for one in carriers:
        found[one.name] = arrays[one.name].index_select(_names(one).index(bond), kept)
    return found
