"""SearchSpace: what may be proposed, read from spaces/*.toml or a file of the same form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.knobs import Range
from tenslora_search.study.geometries import Geometries, geometries_by_sites
from tenslora_search.study.known import known_points
from tenslora_search.study.limits import Limits
from tenslora_search.study.opening import fitting, narrowed, sized
from tenslora_search.study.points import Space
from tenslora_search.study.roles import ROLES
from tenslora_search.study.space_file import declared
from tenslora_search.study.space_values import WHOLE


@dataclass(frozen=True)
class SearchSpace(Space):
    """The points for one model and one budget, as a file says them."""

    @classmethod
    def load(
        cls,
        space: str | Path,
        geometries: Geometries,
        budget: int,
        measured: Mapping[str, Measured] | None = None,
        methods: Sequence[str] | None = None,
        *,
        min_budget: int | None = None,
        max_rank: int | None = None,
    ) -> "SearchSpace":
        """By name (`list spaces`) or from a TOML file; a list is a choice, a table with low and
        high a range. `methods` (names of METHODS, or "all") narrow it.

        `geometries` has, or gives, the geometry of each entry of SITES that the space names; one
        geometry alone is that of its only sites. No trial has fewer than `min_budget` parameters,
        or an update of a larger rank than `max_rank`. Where the space says no size, it is one from
        the smallest structure up to the budget. `QuestionError` for a wrong key or value,
        `NothingFitsError` if no configuration, or none of a method which was named, is within the
        budget and these limits.
        """
        said = declared(space, methods)
        of_sites = geometries_by_sites(said.name, said.sites, geometries)
        limits = Limits(min_budget or 1, max_rank)
        pairs = narrowed(said.name, said.parameters, limits, is_of_methods=bool(said.own))
        parameters = {"size": WHOLE, **pairs}
        parameters |= {role: Range(0.0, 1.0) for role in ROLES}
        every = cls(
            said.name, of_sites, budget, said.structures, parameters, said.knobs, measured or {},
            said.own, said.leaves_out, limits, said.prior,
        )  # fmt: skip
        held = fitting(every)
        return held if "size" in said.parameters else sized(held)

    def seeds(self) -> list[dict[str, Any]]:
        """Points to try first: known methods at several sizes, LoRA at the largest first."""
        return known_points(self)
