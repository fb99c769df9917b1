"""Ranks by mode: beside what a trial's own maps allow."""

from types import SimpleNamespace

import pytest

from tenslora_search.report.pages.insight import ranks_by_mode
from tenslora_search.runs.events import Proposed
from tenslora_search.runs.replay import Record
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.trial import TrialSpec


@pytest.mark.parametrize("projections", [("query", "value"), ("query", "key", "value", "out")])
def test_the_largest_ranks_are_those_of_the_trials_own_sites(projections):
    """Which differ from trial to trial; the run file's first are those of some of them."""
    geometry = Geometry.attention(32, 4, 3, projections=projections)
    adapter = AdapterSpec.of("qkv_depth", "tucker", (4, 5, 2, 3), geometry)
    record = Record(Proposed.of(7, {}, TrialSpec(adapter, 1e-3, 1e-3)))
    run = SimpleNamespace(trials={7: record})
    assert ranks_by_mode(run, SimpleNamespace(number=7)) == {
        "input": (4, 30),
        "output": (5, 24),
        "projection": (2, len(projections)),
        "layer": (3, 3),
    }
