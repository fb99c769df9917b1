"""Pack size: grows while it pays, stops where memory ends, is remembered; measured here on a
machine that is made up.
"""

import pytest
import torch

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.trial import Segment, TrialSpec
from tenslora_search.training import probes

TRIAL = TrialSpec(AdapterSpec.of("none", "cp", (1,), geometry_of_model("digits-vit")), 1e-2, 5e-3)
SEGMENT = Segment(
    "measure", ((0, TRIAL),), (), 0, 9, 9, 8, "digits-vit", {"name": "digits"}, measures=True
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a rate for each pack size; beyond the last its memory is full. Lists the sizes
    that were tried.
    """
    monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path))

    def build(rates: dict[int, float]) -> list[int]:
        tried: list[int] = []

        def rate(model, data, segment, size: int) -> float:
            tried.append(size)
            if size not in rates:
                raise torch.OutOfMemoryError
            return rates[size]

        monkeypatch.setattr(probes, "_rate", rate)
        return tried

    return build


def size(segment: Segment = SEGMENT) -> int:
    return probes.pack_size(segment, lambda _: (None, None))


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({8: 800, 16: 1500, 32: 1550, 64: 9999}, 16),  # 32 no longer pays, so 64 is not tried
        ({8: 800, 16: 1500, 32: 2500}, 32),  # 64 does not fit
        ({8: 100}, 8),
        ({}, 1),
    ],
)
def test_it_grows_while_it_pays_and_fits(machine, rates, expected):
    machine(rates)
    assert size() == expected


def test_it_is_measured_once_for_each_model_and_batch(machine):
    tried = machine({8: 800, 16: 1500})
    assert (size(), size()) == (16, 16)
    assert tried == [8, 16, 32]
    from dataclasses import replace

    size(replace(SEGMENT, batch_size=16))
    assert tried == [8, 16, 32] * 2


def test_a_cache_that_is_no_json_is_measured_anew(machine, tmp_path):
    machine({8: 800})
    (tmp_path / "packs.json").write_text("{")
    assert size() == 8
    assert probes.known_sizes() == {probes.capacity_key(SEGMENT): 8}


def test_rates_are_measured_with_real_packs():
    from tenslora_search.training.segment import worker_backbone

    assert probes._rate(*worker_backbone(SEGMENT), SEGMENT, 2) > 0
