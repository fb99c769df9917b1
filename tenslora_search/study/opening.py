"""What a space needs of a model and of its limits when it is opened, and what is said where nothing
is left of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tenslora_search.spec.budget import format_count
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice
from tenslora_search.spec.sites import DEFAULT_SITES, are_sites
from tenslora_search.spec.structure import AS_IS
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.study.limits import ANY, Limits
from tenslora_search.study.parameters import Parameter, values_of
from tenslora_search.study.space_file import Pair

Geometries = Geometry | Mapping[str, Geometry] | Callable[[str], Geometry]
"""Of the sites that a space names: of each by its name, or the one there is."""


def narrowed(space: str, parameters: Mapping[str, Parameter], limits: Limits) -> dict[str, Any]:
    """The parameters without maps that make an update dense, where its rank is limited."""
    if limits.max_rank is None:
        return dict(parameters)
    pairs = [name for name in values_of(parameters["map"]) if name == AS_IS.name]
    if not pairs:
        maps = ", ".join(values_of(parameters["map"]))
        raise QuestionError(
            f"space {space}: --max-rank is about updates that are a low-rank pair; map {maps} "
            f"makes them dense. Name {AS_IS.name} too."
        )
    return {**parameters, "map": Choice(tuple(pairs))}


def nothing_held(
    space: str, allocators: tuple[str, ...], budget: int, limits: Limits
) -> QuestionError:
    """The error of a space whose structures fit the budget, but are not held by it otherwise."""
    if limits == ANY:
        return QuestionError(
            f"space {space}: no structure of it can be divided by allocator "
            f"{', '.join(allocators)}; add allocator level, or a construction that leaves the axis "
            "to its copies."
        )
    rank = f"ranks up to {limits.max_rank} and " if limits.max_rank is not None else ""
    return NothingFitsError(
        f"nothing in space {space} has {rank}from {format_count(limits.min_params)} to "
        f"{format_count(budget)} parameters; change --min-budget, --max-rank or --budget."
    )


def of_sites(space: str, names: tuple[str, ...], given: Geometries) -> dict[str, Geometry]:
    """The geometry of each of the sites that a space names; `QuestionError` where there is none."""
    if callable(given):
        return {name: given(name) for name in names}
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise QuestionError(
                f"space {space} adapts {missing[0]}; there is a geometry of "
                f"{', '.join(given) or 'nothing'}."
            )
        return {name: given[name] for name in names}
    is_that = len(names) == 1 and are_sites(given.projections, names[0])
    if not is_that and names != (DEFAULT_SITES,):
        raise QuestionError(
            f"space {space} adapts {', '.join(names)}; with one geometry of your own, leave sites "
            "out."
        )
    return {names[0]: given}


def nothing_fits(structures: Mapping[str, Pair], smallest: Mapping[str, int], budget: int) -> str:
    """The line for a budget below the smallest of all structures."""
    least: dict[str, tuple[int, str]] = {}
    for text, (construction, _) in structures.items():
        found = smallest[text], text
        least[construction] = min(least.get(construction, found), found)
    parts = [f"{text} {format_count(size)}" for size, text in least.values()]
    return (
        f"nothing fits {format_count(budget)} parameters; the smallest of each construction: "
        f"{', '.join(parts)}."
    )
