"""Geometries: of the sites that a space names, each with the geometry that a model gives it."""

from collections.abc import Callable, Mapping

from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.sites import DEFAULT_SITES, are_sites
from tenslora_search.spec.table import QuestionError

Geometries = Geometry | Mapping[str, Geometry] | Callable[[str], Geometry]
"""Of the sites that a space names: of each by its name, or the one there is."""


def geometries_by_sites(
    space: str, names: tuple[str, ...], given: Geometries
) -> dict[str, Geometry]:
    """The geometry of each of the sites; `QuestionError` where none is given."""
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
