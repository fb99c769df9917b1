"""The first gradient leads proposals where it ranks, and not where it misleads."""

import random

import pytest
import torch

from tenslora_search.runs.segment import TrialResult
from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.promise import Promise, agreement
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study
from tenslora_search.training.spectra import spectra

GEOMETRY = Geometry.attention(16, 4, 4)
PRIOR = 'decomposition = ["cp", "tucker", "tensor_train"]\n[prior]\ngradient = 1000\n'


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> SearchSpace:
    """On a model whose first gradients are the same in all layers, one of rank 2 a projection."""
    draws = torch.Generator().manual_seed(0)
    gradients = {}
    for name in GEOMETRY.projections:
        left, right = (torch.randn(16, 2, generator=draws) for _ in range(2))
        gradients[name] = [left @ right.T] * 4
    file = tmp_path_factory.mktemp("space") / "led.toml"
    file.write_text(PRIOR)
    measured = {"gradient_spectra": Measured(tuple(spectra(GEOMETRY, gradients)))}
    return SearchSpace.load(file, GEOMETRY, 3_000, measured)


def points_of(space: SearchSpace, count: int) -> list[dict]:
    generator = random.Random(0)
    return [{**space.nudged(space.seeds()[0], generator, 2)} for _ in range(count)]


def test_the_most_promising_of_each_size_are_chosen(space):
    promise, points = Promise(space), points_of(space, 64)
    chosen = promise.chosen(points, 16, 12)
    assert chosen[:4] == points[:4]
    assert len(chosen) == 16
    assert chosen == promise.chosen(points, 16, 12)

    def mean_share(some) -> float:
        shares = [promise.shares(space.trial(one, 0).adapter)[0] for one in some]
        return sum(shares) / len(shares)

    assert mean_share(chosen[4:]) > mean_share(points) + 0.05
    assert len(promise.chosen(points[:6], 16, 12)) == 6


def trained(space: SearchSpace, folder, sign: float, n_segments: int = 99) -> Study:
    """A search in which score follows what is promised, or its opposite."""
    promise = Promise(space)
    folder.mkdir(exist_ok=True)
    study = Study(space, folder, n_trials=40, rungs=(9,), sampler="random", pruner="none")
    for _ in range(n_segments):
        segment = study.next_segment(16)
        if segment is None:
            break
        specs = [(n, study.records[n].spec.adapter) for n in segment.numbers]
        rows = [
            TrialResult(n, 9, 0.5 + sign * sum(promise.shares(one)) / 9, 0.1, None, 1.0)
            for n, one in specs
        ]
        study.record(segment, rows, {}, 1.0)
    return study


def test_it_is_off_where_it_misleads_and_the_same_after_a_break(space, tmp_path):
    good, bad = (trained(space, tmp_path / str(sign), sign) for sign in (1.0, -1.0))
    assert not Promise(space).misleads(good.records)
    assert Promise(space).misleads(bad.records)
    assert Promise(space).n_led(bad.records, 9, 0) == 0
    assert Promise(space).n_led(good.records, 9, 0) > 5
    trained(space, tmp_path / "broken", 1.0, 3)
    again = trained(space, tmp_path / "broken", 1.0)
    specs = [[one.spec for one in study.records.values()] for study in (good, again)]
    assert specs[0] == specs[1]


def test_agreement_is_at_equal_size_and_rate():
    sizes, rates = [2**k for k in range(12)] * 2, [1e-3] * 12 + [1e-2] * 12
    promises = [float(k % 5) for k in range(24)]
    scores = [one / 50 + size / 100 for one, size in zip(promises, sizes, strict=True)]
    assert agreement(promises, scores, sizes, rates) > 0.3
    assert agreement(promises, [0.5] * 24, sizes, rates) == 0


def test_a_space_without_the_probes_answer_is_one_line(space, tmp_path):
    assert space.needs == ("gradient_spectra",)
    (tmp_path / "led.toml").write_text(PRIOR)
    bare = SearchSpace.load(tmp_path / "led.toml", GEOMETRY, 3_000)
    with pytest.raises(QuestionError, match="probe gradient_spectra; there are 0"):
        Promise(bare)
