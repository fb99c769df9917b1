"""space_of(): the space of a question, checked against the steps of its trials."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenslora_search.runs.question import Question
from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.geometries import Geometries
from tenslora_search.study.parameters import Parameter
from tenslora_search.study.space import SearchSpace


def space_of(
    question: Question,
    geometries: Geometries,
    budget: int,
    measured: Mapping[str, Measured] | None = None,
) -> SearchSpace:
    """The space that a question names, of its methods; `QuestionError` if it may propose what no
    trial of so many steps can be: a chain with more links than steps. Methods that nobody
    has named are left out.
    """
    every = SearchSpace.load(question.space, geometries, budget, measured, question.methods)
    space = replace(every, max_rank=question.max_rank)
    knobs = {name: space.parameters[name] for name in space.knobs}
    most = {name: _largest(one) for name, one in knobs.items()}
    chains = {
        text: max(rule.links for point in ({}, most) for rule in space.rules(text, point))
        for text in space.structures
    }
    too_long = [text for text, links in chains.items() if links > question.max_steps]
    rest = {text: pair for text, pair in space.structures.items() if text not in too_long}
    if space.own and space.leaves_out and rest:
        return replace(space, structures=rest)
    for text in too_long:
        raise QuestionError(
            f"space {space.name}: {text} may be a chain of {chains[text]} links, more than the "
            f"{question.max_steps} steps of a trial; give more steps, or fewer links."
        )
    return space


def _largest(one: Parameter) -> Any:
    """The largest number, or the last name."""
    return one.high if isinstance(one, Range) else max(one.values)
