"""run() on real digits: a result and a state for every trial, a pack that halves itself, a
worker's caches.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tenslora_search.backbone import ready
from tenslora_search.data import task as data_module
from tenslora_search.export.trained import load_trained
from tenslora_search.nn.sites import PackError
from tenslora_search.runs.segment import Entrant, Segment, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training import segment as worker
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

DOES_NOT_FIT = (
    PackError("4 trials cannot share a batch of 1 here; attach one at a time (--pack 1)."),
    MemoryError("Unable to allocate 3.2 GiB"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 8 bytes."
    ),
)


def make(
    n_trials: int = 4, *, from_step: int = 0, to_step: int = 3, split: str = "select", states=None
) -> Segment:
    geometry = geometry_of_model("digits-vit")
    specs = [AdapterSpec.of("none", "cp", (1 + k,), geometry) for k in range(n_trials)]
    return Segment(
        id="s",
        entrants=tuple(
            Entrant(10 + k, TrialSpec(spec, 1e-2, 5e-3, seed=k), states[k] if states else None)
            for k, spec in enumerate(specs)
        ),
        from_step=from_step,
        to_step=to_step,
        setting=Setting("digits-vit", {"name": "digits"}, batch_size=16, max_steps=6),
        split=split,
    )


@pytest.fixture(autouse=True)
def fresh_limits():
    for known in (worker._largest, worker._recomputed):
        known.clear()
    yield
    for known in (worker._largest, worker._recomputed):
        known.clear()


@pytest.fixture
def small_memory(monkeypatch):
    """A machine that holds `largest` trials at once, however it says so; returns the sizes of the
    packs that were tried.
    """

    def install(largest: int, error: Exception) -> list[int]:
        tried = []
        advance = Pack.advance

        def limited(self, to_step):
            tried.append(len(self.specs))
            if len(self.specs) > largest:
                raise error
            return advance(self, to_step)

        monkeypatch.setattr(Pack, "advance", limited)
        return tried

    return install


def test_each_trial_has_a_score_and_a_state(tmp_path):
    results = worker.run(make(), tmp_path)
    assert [result.number for result in results] == [10, 11, 12, 13]
    for result in results:
        assert result.reason is None
        assert result.step == 3
        assert 0 <= result.score <= 1
        assert read_state(tmp_path / f"{result.number}.safetensors")[0]["step"] == 3
    states = [str(tmp_path / f"{result.number}.safetensors") for result in results]
    later = worker.run(make(from_step=3, to_step=6, states=states), tmp_path / "later")
    assert [result.step for result in later] == [6] * 4


@pytest.mark.parametrize(
    ("score", "predictions", "reason"),
    [
        (float("nan"), 0.5, "metric accuracy gives nan of predictions that are all finite"),
        (float("nan"), float("nan"), "its predictions are not finite"),
    ],
)
def test_a_score_that_is_no_number_says_whose_fault_it_is(
    tmp_path, monkeypatch, score, predictions, reason
):
    _, data = worker.worker_backbone(make().setting)
    monkeypatch.setattr(type(data.goal), "score", lambda *_: score)
    answers = np.full((1, len(data.report), 10), predictions)
    monkeypatch.setattr(Pack, "predict", lambda *_, **__: answers)
    for split in ("select", "report"):
        (one,) = worker.run(make(1, split=split), tmp_path)
        assert (one.score, one.reason) == (None, reason)


def test_it_is_a_pure_function_of_the_segment(tmp_path):
    first, second = (worker.run(make(), tmp_path / name) for name in ("first", "second"))
    assert [(r.score, r.loss) for r in first] == [(r.score, r.loss) for r in second]
    for number in range(10, 14):
        files = [
            (tmp_path / name / f"{number}.safetensors").read_bytes() for name in ("first", "second")
        ]
        assert files[0] == files[1]


def test_report_is_scored_where_asked(tmp_path):
    select, report = (
        worker.run(make(1, to_step=6, split=split), tmp_path) for split in ("select", "report")
    )
    _, data = worker.worker_backbone(make().setting)
    assert select[0].score * len(data.select) == pytest.approx(
        round(select[0].score * len(data.select))
    )
    assert report[0].score * len(data.report) == pytest.approx(
        round(report[0].score * len(data.report))
    )
    assert select[0].by_class is None
    found, given, there = map(sum, zip(*report[0].by_class, strict=True))
    assert found == round(report[0].score * len(data.report))
    assert given == there == len(data.report)


def test_report_is_scored_in_float32_as_users_load_what_they_export(tmp_path, monkeypatch):
    monkeypatch.setattr(ready, "cpu_multiplies_bfloat16", lambda: True)
    worker._backbone.cache_clear()
    asked = make(4, to_step=6, split="report")
    results = worker.run(asked, tmp_path)
    (model, _), data = worker.worker_backbone(asked.setting)
    worker._backbone.cache_clear()
    assert next(model.parameters()).dtype == torch.bfloat16
    images = data.report.processor.normalise(data.report.inputs["pixel_values"])
    for result in results:
        adapter, *_ = load_trained(
            tmp_path / f"{result.number}.safetensors", "digits-vit", goal=data.goal
        )
        with torch.no_grad():
            right = adapter.model(images).logits.argmax(1) == data.report.labels
        assert result.score == pytest.approx(right.double().mean().item(), abs=1e-9)


def test_a_backbone_in_float32_is_not_loaded_again_for_the_retest(tmp_path, monkeypatch):
    monkeypatch.setattr(ready, "cpu_multiplies_bfloat16", lambda: False)
    worker._backbone.cache_clear()
    worker.run(make(1, split="report"), tmp_path)
    assert worker._backbone.cache_info().misses == 1
    worker._backbone.cache_clear()


def test_trials_that_have_seen_few_rows_are_scored_on_few(tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "GLANCE_ROWS", 50)
    worker._data.cache_clear()
    early, top = (
        worker.run(make(to_step=3), tmp_path / "early"),
        worker.run(make(to_step=6), tmp_path / "top"),
    )
    (model, _), data = worker.worker_backbone(make().setting)
    worker._data.cache_clear()
    assert len(data.select) > 3 * 16
    for results, folder, step, split in (
        (early, "early", 3, data.glance),
        (top, "top", 6, data.select),
    ):
        states = [tmp_path / folder / f"{result.number}.safetensors" for result in results]
        specs = [one.spec for one in make().entrants]
        with Pack(
            model, data, specs, max_steps=6, batch_size=16, from_step=step, states=states
        ) as pack:
            assert [result.score for result in results] == pack.scores(split)


@pytest.mark.parametrize("error", DOES_NOT_FIT, ids=lambda error: type(error).__name__)
def test_a_pack_that_does_not_fit_halves_itself_and_remembers(tmp_path, small_memory, error):
    expected = worker.run(make(), tmp_path / "expected")
    tried = small_memory(2, error)
    results = worker.run(make(), tmp_path / "halved")
    assert tried == [4, 2, 2]
    for one, other in zip(results, expected, strict=True):
        assert (one.number, one.reason) == (other.number, None)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
    worker.run(make(), tmp_path / "again")
    assert tried == [4, 2, 2, 2, 2]


def test_a_single_trial_that_does_not_fit_fails_with_the_reason(tmp_path, small_memory):
    tried = small_memory(0, DOES_NOT_FIT[1])
    results = worker.run(make(2), tmp_path)
    assert tried == [2, 1, 1, 1]  # the first was tried with layers that are computed again too
    assert [result.score for result in results] == [None, None]
    assert all("out of memory with 1 trial" in result.reason for result in results)


def test_other_errors_are_not_swallowed(tmp_path, small_memory):
    small_memory(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        worker.run(make(2), tmp_path)
    (model, _), _ = worker.worker_backbone(make().setting)
    assert not hasattr(model, "adapter")


def test_the_worker_keeps_its_backbone_and_data(tmp_path):
    model, data = worker.worker_backbone(make().setting)
    again = worker.worker_backbone(make(2).setting)
    assert again[0] is model
    assert again[1] is data


def test_columns_that_the_question_names(tmp_path):
    task = {"name": "digits", "columns": {"image": "image", "label": "label"}}
    named = replace(make(1), setting=replace(make(1).setting, task=task))
    assert [result.reason for result in worker.run(named, tmp_path)] == [None]


def test_a_segment_that_is_cut_short_goes_on_to_where_it_would_have_been(tmp_path):
    """At a step, its states kept: cut and gone on with is the same as in one go."""
    looks = iter([False, True])
    cut = worker.run(make(to_step=6), tmp_path / "cut", lambda step: next(looks))
    assert [(one.step, one.score, one.reason, one.is_cut) for one in cut] == [
        (worker.FIRST_STEPS, None, None, True)
    ] * 4
    states = [str(tmp_path / "cut" / f"{one.number}.safetensors") for one in cut]
    rest = make(from_step=worker.FIRST_STEPS, to_step=6, states=states)
    found = worker.run(rest, tmp_path / "rest", lambda step: False)
    whole = worker.run(make(to_step=6), tmp_path / "whole")
    assert [one.score for one in found] == [one.score for one in whole]
    assert all(one.step == 6 for one in found)


def test_time_is_up_before_the_first_step(tmp_path):
    results = worker.run(make(), tmp_path, lambda step: True)
    assert {(one.step, one.is_cut) for one in results} == {(0, True)}
