"""The checks that plugins are offered: our own entries pass, and broken ones are told what is
wrong.
"""

import pytest
import torch

from tenslora_search import testing
from tenslora_search.data.goals import GOALS
from tenslora_search.data.metrics import METRICS
from tenslora_search.spec.allocators import ALLOCATORS, Allocator
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Rule
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.tasks import TASKS
from tenslora_search.study.pruners import PRUNERS
from tenslora_search.study.samplers import SAMPLERS

CHECKS = {
    "construction": CONSTRUCTIONS,
    "decomposition": DECOMPOSITIONS,
    "map": MAPS,
    "rule": RULES,
    "allocator": ALLOCATORS,
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
    "metric": METRICS,
    "goal": GOALS,
    "task": TASKS,
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in CHECKS.items() for name in table]
)
def test_our_own_entries_pass(kind, name):
    getattr(testing, f"check_{kind}")(name)


def shifted(update):
    """Adds one."""
    return update + 1


def lavish():
    """Spends all there is."""
    return Allocator(lambda structure, size, weights, measured: structure.limits)


def forgetful():
    """Draws from the global generator between steps."""

    def between(learner):
        for factor in learner.factors:
            for value in learner.value(factor):
                value.add_(torch.randn(value.shape), alpha=0.1)

    return Rule(between=between, every=1)


def everybody(eta, n_rungs):
    """Lets all climb."""
    return lambda standings, rung: {one.number for one in standings}


def nothing(space, seed, objective):
    """Proposes nothing."""
    return lambda seen, count: []


@pytest.mark.parametrize(
    ("kind", "entry", "sentence"),
    [
        ("map", shifted, "map shifted makes an update of 0 another"),
        ("allocator", lavish, "spends"),
        ("rule", forgetful, "is another in a pack"),
        ("pruner", everybody, "do not stand on rung 0"),
        ("sampler", nothing, "0 were proposed"),
    ],
)
def test_a_broken_entry_is_told_what_is_wrong(kind, entry, sentence):
    table, name = CHECKS[kind], entry.__name__
    table.add(name, entry)
    try:
        with pytest.raises(AssertionError, match=sentence):
            getattr(testing, f"check_{kind}")(name)
    finally:
        table.remove(name)
