"""Which widths of a pack's steps are recorded; the recording itself needs a GPU (test_gpu.py)."""

import pytest
import torch

from tenslora_search.training import segment as segment_module
from tenslora_search.training.replay import Replay

WIDTHS = [64, 96, 128, 256] * 6
"""Of texts: no width comes often in a few steps, each often in all."""


@pytest.fixture
def replay(monkeypatch) -> tuple[Replay, list[int]]:
    recorded: list[int] = []
    one = Replay(lambda width: None, torch.device("cpu"))
    monkeypatch.setattr(one, "_records", True)
    monkeypatch.setattr(one, "_record", lambda width: recorded.append(width))
    return one, recorded


def walk(one: Replay, n_at_once: int, *, tells_more: bool) -> None:
    if tells_more:
        one.expect(WIDTHS)
    for start in range(0, len(WIDTHS), n_at_once):
        part = WIDTHS[start : start + n_at_once]
        if not tells_more:
            one.expect(part)
        one.run(part, lambda index: None)


@pytest.mark.parametrize("n_at_once", [1, 4, len(WIDTHS)])
def test_every_width_that_pays_is_recorded_however_few_steps_come_at_once(replay, n_at_once):
    walk(replay[0], n_at_once, tells_more=True)
    assert set(replay[1]) == set(WIDTHS)


def test_a_few_steps_alone_are_not_worth_recording(replay):
    walk(replay[0], 4, tells_more=False)
    assert replay[1] == []


def test_a_segment_says_how_far_its_packs_will_go(monkeypatch):
    goals: list[int | None] = []

    class Pack:
        step, specs = 0, ("one",)

        def advance(self, to_step: int, *, goal: int | None = None) -> list[float]:
            self.step = to_step
            goals.append(goal)
            return [0.0]

    segment_module._advance(Pack(), 40, lambda step: False)
    assert set(goals) == {40}
    assert len(goals) > 2
