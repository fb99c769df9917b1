"""One pack of gates, the Cayley transform, a dense map, ranks that ramp and mixed sites: alone is
packed, paused is unbroken, for one label a row and for several.
"""

from itertools import pairwise

import pytest
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Labels
from tenslora_search.data.task import TaskData
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

MAX_STEPS = 12


def pack(model, data: TaskData, specs: list[TrialSpec], **options) -> Pack:
    return Pack(model, data, specs, max_steps=MAX_STEPS, batch_size=8, **options)


@pytest.fixture(scope="module")
def labelled(tokens) -> TaskData:
    """Whether each of the first two tokens is among the upper half of the vocabulary: none, one or
    two labels a row.
    """

    def split(n_rows: int, seed: int) -> Split:
        found = tokens(n_rows, seed)
        marks = (found.inputs["input_ids"][:, 1:3] >= 17).float()
        return Split(found.inputs, marks, found.lengths)

    fit, select, report = (split(n, seed) for seed, n in enumerate((60, 40, 40)))
    return TaskData("labels", Labels(("first", "second"), "f1_micro"), fit, select, report, "")


@pytest.fixture(params=["classes", "labels"])
def rows(request, data, labelled) -> TaskData:
    return data if request.param == "classes" else labelled


def test_the_six_users_are_in_one_pack(bert, six_users):
    specs = [spec.adapter for spec in six_users(bert)]
    assert {spec.decomposition for spec in specs} >= {"sora", "nb_lora", "cp"}
    assert {len(spec.geometry.projections) for spec in specs} == {2, 3, 4}
    assert {spec.is_low_rank for spec in specs} == {True, False}
    assert any(len(set(spec.ranks)) > 1 for spec in specs if spec.decomposition == "nb_lora")


def test_alone_is_packed(bert, rows, six_users, tmp_path, learnt, assert_same):
    specs = six_users(bert)
    with pack(bert, rows, specs) as together:
        losses = together.advance(MAX_STEPS)
        scores = together.scores(rows.select)
        states = [learnt(together, tmp_path, k) for k in range(len(specs))]
    for number, spec in enumerate(specs):
        with pack(bert, rows, [spec]) as alone:
            assert alone.advance(MAX_STEPS)[0] == pytest.approx(losses[number], abs=1e-5)
            assert alone.scores(rows.select)[0] == pytest.approx(scores[number], abs=1e-5)
            assert_same(learnt(alone, tmp_path / "alone"), states[number])


def test_paused_is_unbroken(bert, rows, six_users, tmp_path, learnt):
    """Bit for bit in the same pack."""
    specs = six_users(bert)
    with pack(bert, rows, specs) as unbroken:
        unbroken.advance(MAX_STEPS)
        expected = [learnt(unbroken, tmp_path, k) for k in range(len(specs))]
    states = None
    for start, stop in pairwise((0, 3, 7, MAX_STEPS)):
        with pack(bert, rows, specs, from_step=start, states=states) as part:
            part.advance(stop)
            folder = tmp_path / str(stop)
            states = [part.save(k, folder / f"{k}.safetensors") for k in range(len(specs))]
            found = [learnt(part, tmp_path / "again", k) for k in range(len(specs))]
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_resumed_in_another_pack_is_unbroken(bert, rows, six_users, tmp_path, learnt, assert_same):
    specs = six_users(bert)
    with pack(bert, rows, specs) as unbroken:
        unbroken.advance(5)
        states = [unbroken.save(k, tmp_path / f"{k}.safetensors") for k in range(len(specs))]
        unbroken.advance(MAX_STEPS)
        expected = [learnt(unbroken, tmp_path / "all", k) for k in range(len(specs))]
    chosen = [8, 6, 1, 3]
    with pack(
        bert, rows, [specs[k] for k in chosen], from_step=5, states=[states[k] for k in chosen]
    ) as second:
        second.advance(MAX_STEPS)
        for place, number in enumerate(chosen):
            assert_same(learnt(second, tmp_path / "second", place), expected[number])
