"""find_sites, geometry_of: where a model's adapted maps are, by the patterns of its family or by a
user's, and their shapes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from tenslora_search.nn.columns import Fused, columns_of
from tenslora_search.nn.sites import Place, Site
from tenslora_search.nn.wrappers import check_no_other, clean_name, unwrapped
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.families import ATTENTION, MLP, TRANSPOSED, family_of
from tenslora_search.spec.fused import LAYOUTS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.model_config import Heads, heads_of
from tenslora_search.spec.table import QuestionError

Targets = Mapping[str, str]
"""Patterns by projection, as in `spec/families.py`: {"query": "attn.q", "value": "attn.qkv 2/3"}.
"""


class End(NamedTuple):
    """One alternative of a pattern: the end of a module's name, and which outputs are meant."""

    name: str
    part: str


def find_sites(
    model: nn.Module, projections: Sequence[str] = ATTENTION, targets: Targets | None = None
) -> dict[str, list[Place]]:
    """For each projection its places, layer by layer; where there is none, `QuestionError` lists
    the linear maps there are.

    Names are those without wrappers (torch.compile, nn.DataParallel). `QuestionError` also for a
    model that carries an adapter, for targets that are no patterns, for a fused map whose layout is
    not known, and for a map that the model does not call.
    """
    model = unwrapped(model)
    if any(isinstance(module, Site) for module in model.modules()):
        raise QuestionError("this model carries an adapter already; call its detach() first.")
    check_no_other(model)
    if not projections:
        raise QuestionError(
            f"name one projection or more, such as {', '.join(ATTENTION)}; got none."
        )
    patterns = _patterns(model, projections, targets)
    maps, config = linear_maps(model), config_of(model)
    places: dict[str, list[Place]] = {}
    for projection, pattern in patterns.items():
        ends = [_parsed(part) for part in pattern.split("|")]
        found = [(name, end) for name in maps if (end := _match(ends, name))]
        if not found:
            raise QuestionError(
                f"no linear map of this model ends in {pattern!r} ({projection}). "
                f"{_names_of_maps(maps)}"
            )
        places[projection] = [
            _place(
                Fused(name, _widths(maps[name])[1], projection, config), end, targets is not None
            )
            for name, end in found
        ]
    _check_called(model, {place.module for found in places.values() for place in found})
    return places


@checked()
def geometry_of(
    model: nn.Module,
    projections: Sequence[str] = ATTENTION,
    *,
    targets: Targets | None = None,
    heads: int | None = None,
) -> Geometry:
    """The geometry of a model's sites by their real shapes; `heads` says how many, if the model's
    config does not.

    >>> geometry_of(model) == Geometry.attention(hidden=16, heads=2, layers=2)
    True
    """
    places = find_sites(model, projections, targets)
    maps = linear_maps(model)
    said = Heads(heads) if heads else heads_of(config_of(model))
    shapes: list[tuple[str, int, int, int, bool]] = []
    for name, found in places.items():
        back = name in TRANSPOSED
        inner, outer = _shape(maps[found[0].module], found[0])[:: -1 if back else 1]
        if name in MLP:
            shapes.append((name, inner, 1, outer, back))
            continue
        query = places["query"][0] if "query" in places else None
        wide = _shape(maps[query.module], query)[1] if query else said.hidden or outer
        width = said.head_dim or wide // _number(said, model)
        if width < 1 or outer % width:
            raise QuestionError(
                f"{name} has {outer} features, which do not divide into heads of {width}; give "
                "heads that divide."
            )
        shapes.append((name, inner, outer // width, width, back))
    layers = {len(found) for found in places.values()}
    if len(layers) > 1:
        raise QuestionError(
            "the projections are in unequal numbers of layers: "
            f"{ {n: len(f) for n, f in places.items()} }."
        )
    return Geometry.of_maps(shapes, layers.pop())


def _number(heads: Heads, model: nn.Module) -> int:
    if heads.number:
        return heads.number
    raise QuestionError(
        f"{type(unwrapped(model)).__name__} has no config that says how many heads there are; give "
        "heads=, such as geometry_of(model, targets=..., heads=8)."
    )


def check_shapes(model: nn.Module, places: Mapping[str, list[Place]], geometry: Geometry) -> None:
    """`QuestionError` where the model's maps are not those of the geometry."""
    maps = linear_maps(model)
    for group in geometry.groups:
        for name in group.projections:
            if len(places[name]) != group.layers:
                raise QuestionError(
                    f"the spec is for {group.layers} layers of {name}; this model has "
                    f"{len(places[name])}."
                )
            expected = (group.input, group.output)[:: -1 if name in group.transposed else 1]
            for place in places[name]:
                if (found := _shape(maps[place.module], place)) != expected:
                    raise QuestionError(
                        f"the spec is for {name} of {expected[0]} x {expected[1]}; {place.module} "
                        f"is {found[0]} x {found[1]}."
                    )


def linear_maps(model: nn.Module) -> dict[str, nn.Module]:
    """The linear maps of a model by their names without wrappers."""
    model = unwrapped(model)
    return {
        clean_name(model, name): module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    }


def config_of(model: nn.Module) -> dict[str, Any]:
    """The model's config as a dict; empty if it has none."""
    config: Any = getattr(unwrapped(model), "config", None)
    if hasattr(config, "to_dict"):
        return config.to_dict()
    return dict(vars(type(config)) | vars(config)) if config is not None else {}


def _patterns(
    model: nn.Module, projections: Sequence[str], targets: Targets | None
) -> dict[str, str]:
    if targets is None:
        model_type = getattr(getattr(model, "config", None), "model_type", None)
        if model_type is None:
            raise QuestionError(
                f"{type(model).__name__} has no config that says its family; give targets=. "
                f"{_names_of_maps(linear_maps(model))}"
            )
        return family_of(model_type).patterns(projections)
    missing = [name for name in projections if name not in targets]
    if missing:
        raise QuestionError(
            f"targets has no pattern for {', '.join(missing)}; it has "
            f"{', '.join(targets) or 'none'}."
        )
    return {name: targets[name] for name in projections}


def _parsed(text: str) -> End:
    """`attn.qkv 2/3` as the end of a module's name and which of its outputs: all of them where
    nothing is said.
    """
    name, _, part = text.strip().partition(" ")
    part = part.strip()
    numbers = re.fullmatch(r"(\d+)/(\d+)", part)
    known = not part or part in LAYOUTS or re.fullmatch(r"\d+:\d+", part) or numbers
    if not name or not known or (numbers and int(numbers[1]) >= int(numbers[2])):
        raise QuestionError(
            "a target is the end of a name, and for one of n blocks of a fused map 0/n to (n - "
            f"1)/n; got {text.strip()!r}."
        )
    return End(name, part)


def _match(ends: Sequence[End], module: str) -> End | None:
    for end in ends:
        expression = re.escape(end.name).replace(r"\*", r"\d+")
        if re.search(rf"(^|\.){expression}$", module):
            return end
    return None


def _place(fused: Fused, end: End, by_user: bool) -> Place:
    """A user's word is checked against the family's; the family's stands."""
    known, model_type = end.part, fused.config.get("model_type")
    if by_user and model_type:
        known = _known_part(str(model_type), fused.projection, fused.module)
    return Place(fused.module, columns_of(fused, end.part, known), fused.outputs)


def _known_part(model_type: str, projection: str, name: str) -> str:
    """What the model's family says of this map; nothing where there is no such row."""
    try:
        pattern = family_of(model_type).patterns([projection])[projection]
    except QuestionError:
        return ""
    end = _match([_parsed(part) for part in pattern.split("|")], name)
    return end.part if end else ""


def _check_called(model: nn.Module, names: set[str]) -> None:
    """Refuses maps whose owner computes with their weight and never calls them."""
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            name = clean_name(model, f"{path}.out_proj" if path else "out_proj")
            if name in names:
                raise QuestionError(
                    f"{name} is never called: nn.MultiheadAttention reads its weight, so an "
                    "adapter there would do nothing. Leave it out of targets."
                )


def _widths(module: nn.Module) -> tuple[int, int]:
    """(input, output) of a map; a quantized nn.Linear may store its weight in another shape."""
    linear: Any = module
    if isinstance(module, nn.Linear):
        return linear.in_features, linear.out_features
    inputs, outputs = map(int, linear.weight.shape)
    return inputs, outputs


def _shape(module: nn.Module, place: Place) -> tuple[int, int]:
    """(input, output) of a projection."""
    return _widths(module)[0], place.columns.width * place.columns.runs


def _names_of_maps(maps: Mapping[str, nn.Module]) -> str:
    ends = dict.fromkeys(re.sub(r"\d+", "*", name) for name in maps)
    return f"Its linear maps: {', '.join(ends) or 'none'}."
