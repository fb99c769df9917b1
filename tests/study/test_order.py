"""Orders: what a crash has cut off of a journal, and what is begun where nothing new is to be."""

from tenslora_search.runs.events import Complete, Opened, Proposed, Rung, SegmentDone
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.order import AsTheyCome, Waves
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

GEOMETRY = Geometry.attention(32, 4, 3)
SPEC = TrialSpec(AdapterSpec.of("none", "cp", 2, GEOMETRY), 1e-3, 1e-3)


def test_cuts_that_were_not_written_whole_are_no_trials():
    """Where each event stands for itself too: what is left of them would be trained as trials."""
    begun = [Opened(1), Proposed.of(0, {}, SPEC), Rung(0, 9, 0.5), Complete(0, 9, 0.5)]
    cuts = [Proposed.of(1, {}, SPEC, 0), Rung(1, 9, 0.4), Complete(1, 9, 0.4)]
    more = Proposed.of(2, {}, SPEC, 0)
    order = AsTheyCome()
    assert order.unfinished(begun) == 0
    assert order.unfinished([*begun, *cuts, more]) == 4
    assert order.unfinished([*begun, *cuts, more][:-3]) == 1
    done = [*begun, *cuts, SegmentDone("cuts", (1,), 9, 9, 1.0)]
    assert order.unfinished(done) == Waves(4).unfinished(done) == 0


def test_without_time_for_another_none_that_was_given_back_is_begun(tmp_path):
    space = SearchSpace.load("default", GEOMETRY, 6_000)
    study = Study(space, tmp_path, n_trials=4, rungs=(3, 9), asynchronous=True)
    study.give_back(study.next_segment(4))
    assert study.next_segment(4, fresh=False) is None
    assert study.next_segment(4) is not None
