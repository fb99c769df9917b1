"""What limits leave of a space when it is opened, and what is said where that is nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from tenslora_search.spec.budget import format_count
from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.structure import AS_IS
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.study.feasible import nothing_fits
from tenslora_search.study.limits import ANY, Limits
from tenslora_search.study.parameters import Parameter, values_of
from tenslora_search.study.points import Space

S = TypeVar("S", bound=Space)


def narrowed(
    space: str, parameters: Mapping[str, Parameter], limits: Limits, *, is_of_methods: bool
) -> dict[str, Any]:
    """The parameters without maps that make an update dense, where its rank is limited; methods
    have each a map of their own.
    """
    if limits.max_rank is None or is_of_methods:
        return dict(parameters)
    pairs = [name for name in values_of(parameters["map"]) if name == AS_IS.name]
    if not pairs:
        maps = ", ".join(values_of(parameters["map"]))
        raise QuestionError(
            f"space {space}: --max-rank is about updates that are a low-rank pair; map {maps} "
            f"makes them dense. Name {AS_IS.name} too."
        )
    return {**parameters, "map": Choice(tuple(pairs))}


def nothing_held(space: Space, lost: str, *, is_all: bool) -> NothingFitsError:
    """The error of a space whose structures fit the budget, and break a limit: all of them, or a
    method that was named, `lost`.
    """
    limits = space.limits
    what = f"method {lost} has nothing of" if space.own else f"nothing in space {space.name} has"
    if space.own and len(space.own) > 1 and is_all:
        what, lost = "none of the methods has anything of", ""
    rank = f"ranks up to {limits.max_rank} and " if limits.max_rank is not None else ""
    hint = "change --min-budget, --max-rank or --budget"
    if space.own and len(space.own) > 1 and lost:
        hint += f", or leave {lost} out of --methods"
    return NothingFitsError(
        f"{what} {rank}from {format_count(limits.min_params)} to "
        f"{format_count(space.budget)} parameters{_why(space, lost)}; {hint}."
    )


def _why(space: Space, lost: str) -> str:
    """Of a method whose updates are no low-rank pair, at any size."""
    if not space.own or not lost or space.limits.max_rank is None:
        return ""
    structure = space.structure(lost, space.sites(lost)[0], {})
    is_dense = structure.after != AS_IS or structure.networks[0].form.dense
    return "; its updates are dense, no LoRA pair of any rank" if is_dense else ""


def fitting(space: S) -> S:
    """With the structures alone that the model holds within the budget, and the allocators of
    the space divide; of methods that were named all must be so.
    """
    smallest: dict[str, int] = {}
    for text in space.structures:
        try:
            of_sites = [space.structure(text, one, {}).smallest for one in space.sites(text)]
            smallest[text] = min(of_sites)
        except QuestionError as error:
            if text in space.own and not space.leaves_out:
                raise QuestionError(f"method {text} is not for this model: {error}") from error
            if text not in space.own:
                raise
    over = [text for text, size in smallest.items() if size > space.budget]
    if over and space.own and not space.leaves_out:
        raise NothingFitsError(
            f"method {over[0]} needs at least {smallest[over[0]]:,} parameters on this model; "
            f"the budget is {space.budget:,}."
        )
    fitting = {text: space.structures[text] for text in smallest if text not in over}
    if not fitting:
        raise NothingFitsError(nothing_fits(space.structures, smallest, space.budget))
    divided = {text: pair for text, pair in fitting.items() if space.combinations(text)}
    lost = [text for text in fitting if text not in divided]
    if not divided or (lost and space.own and not space.leaves_out):
        if space.limits != ANY:
            raise nothing_held(space, lost[0], is_all=not divided)
        names = ", ".join(values_of(space.parameter(lost[0], "allocator")))
        what = f"method {lost[0]}" if space.own else "no structure of it"
        raise QuestionError(
            f"space {space.name}: {what} can be divided by allocator {names}; add "
            "allocator level, or a construction that leaves the axis to its copies."
        )
    return replace(space, structures=divided)


def sized(space: S) -> S:
    """With sizes from the smallest structure, or the least that is allowed, to the budget."""
    smallest = [
        space.structure(text, sites, {}).smallest
        for text in space.structures
        for sites, _ in space.combinations(text)
    ]
    least = max(min(smallest), space.limits.min_params) / space.budget
    sizes = Range(least, 1.0, log=True) if least < 1 else Choice((1.0,))
    return replace(space, parameters={**space.parameters, "size": sizes})
