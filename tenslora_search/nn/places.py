"""find_sites, geometry_of: where a model's adapted maps are, by the patterns of its family or by a
user's, and their shapes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tenslora_search.nn.sites import Place, Site
from tenslora_search.spec.backbones import read_config
from tenslora_search.spec.families import ATTENTION, MLP, TRANSPOSED, family_of
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError

Targets = Mapping[str, str]
"""Patterns by projection, as in `spec/backbones.py`: {"query": "attn.q", "value": "attn.qkv 2/3"}.
"""


def find_sites(
    model: nn.Module, projections: Sequence[str] = ATTENTION, targets: Targets | None = None
) -> dict[str, list[Place]]:
    """For each projection its places, layer by layer; where there is none, `QuestionError` lists
    the linear maps there are.

    `QuestionError` also for a model that carries an adapter, and for targets that are no patterns.
    """
    if any(isinstance(module, Site) for module in model.modules()):
        raise QuestionError("this model carries an adapter already; call its detach() first.")
    if not projections:
        raise QuestionError(
            f"name one projection or more, such as {', '.join(ATTENTION)}; got none."
        )
    if targets is None:
        model_type = getattr(getattr(model, "config", None), "model_type", None)
        if model_type is None:
            raise QuestionError(
                f"{type(model).__name__} has no config that says its family; give targets=. "
                f"{_linear_maps(model)}"
            )
        patterns = family_of(model_type).patterns(projections)
    else:
        missing = [name for name in projections if name not in targets]
        if missing:
            raise QuestionError(
                f"targets has no pattern for {', '.join(missing)}; it has "
                f"{', '.join(targets) or 'none'}."
            )
        patterns = {name: targets[name] for name in projections}
    names = [name for name, module in model.named_modules() if _is_linear(module)]
    places: dict[str, list[Place]] = {}
    for name, pattern in patterns.items():
        ends = [_parsed(part) for part in pattern.split("|")]
        places[name] = [place for module in names if (place := _match(ends, module))]
    for name, found in places.items():
        if not found:
            raise QuestionError(
                f"no linear map of this model ends in {patterns[name]!r} ({name}). "
                f"{_linear_maps(model)}"
            )
    return places


def geometry_of(
    model: nn.Module,
    projections: Sequence[str] = ATTENTION,
    *,
    targets: Targets | None = None,
    heads: int | None = None,
) -> Geometry:
    """The geometry of a model's sites by their real shapes; `heads` says how many, if the model's
    config does not.
    """
    places = find_sites(model, projections, targets)
    config: dict[str, Any] = model.config.to_dict() if hasattr(model, "config") else {}  # type: ignore[union-attr]
    numbers = (
        {"heads": heads, "head_dim": None}
        if heads
        else read_config(config, "the model's config; heads=")
    )
    maps: list[tuple[str, int, int, int, bool]] = []
    for name, found in places.items():
        back = name in TRANSPOSED
        inner, outer = _shape(model, found[0])[:: -1 if back else 1]
        if name in MLP:
            maps.append((name, inner, 1, outer, back))
            continue
        query_width = _shape(model, places["query"][0])[1] if "query" in places else outer
        head_dim = numbers["head_dim"] or query_width // numbers["heads"]
        if outer % head_dim:
            raise QuestionError(
                f"{name} has {outer} features, which do not divide into heads of {head_dim}; give "
                "heads that divide."
            )
        maps.append((name, inner, outer // head_dim, head_dim, back))
    layers = {len(found) for found in places.values()}
    if len(layers) > 1:
        raise QuestionError(
            "the projections are in unequal numbers of layers: "
            f"{ {n: len(f) for n, f in places.items()} }."
        )
    return Geometry.of_maps(maps, layers.pop())


def _parsed(part: str) -> Place:
    """`attn.qkv 2/3` as the end of a module's name, a block, and how many blocks the map has: 0 of
    1 where none are named.
    """
    name, _, fused = part.strip().partition(" ")
    numbers = re.fullmatch(r"(\d+)/(\d+)", fused.strip() or "0/1")
    block, of = map(int, numbers.groups()) if numbers else (0, 0)
    if not name or block >= of:
        raise QuestionError(
            "a target is the end of a name, and for one of n blocks of a fused map 0/n to (n - "
            f"1)/n; got {part.strip()!r}."
        )
    return Place(name, block, of)


def _match(ends: Sequence[Place], module: str) -> Place | None:
    for end in ends:
        expression = re.escape(end.module).replace(r"\*", r"\d+")
        if re.search(rf"(^|\.){expression}$", module):
            return Place(module, end.block, end.of)
    return None


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _shape(model: nn.Module, place: Place) -> tuple[int, int]:
    """(input, output) of a projection; a quantized nn.Linear may store its weight in another
    shape."""
    module: Any = model.get_submodule(place.module)
    linear = isinstance(module, nn.Linear)
    inputs, outputs = (
        (module.in_features, module.out_features) if linear else map(int, module.weight.shape)
    )
    if outputs % place.of:
        raise QuestionError(
            f"{place.module} has {outputs} outputs, which do not divide into {place.of} blocks."
        )
    return inputs, outputs // place.of


def check_shapes(model: nn.Module, places: Mapping[str, list[Place]], geometry: Geometry) -> None:
    for group in geometry.groups:
        for name in group.projections:
            if len(places[name]) != group.layers:
                raise QuestionError(
                    f"the spec is for {group.layers} layers of {name}; this model has "
                    f"{len(places[name])}."
                )
            expected = (group.input, group.output)[:: -1 if name in group.transposed else 1]
            for place in places[name]:
                if (found := _shape(model, place)) != expected:
                    raise QuestionError(
                        f"the spec is for {name} of {expected[0]} x {expected[1]}; {place.module} "
                        f"is {found[0]} x {found[1]}."
                    )


def _linear_maps(model: nn.Module) -> str:
    ends = dict.fromkeys(
        re.sub(r"\d+", "*", name) for name, module in model.named_modules() if _is_linear(module)
    )
    return f"Its linear maps: {', '.join(ends) or 'none'}."
