"""Pack size: grows while it pays, stops where memory ends, is remembered; measured here on a
machine that is made up.
"""

import pytest
import torch

from tenslora_search.runs.segment import Probe, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training import probes

TRIAL = TrialSpec(AdapterSpec.of("none", "cp", (1,), geometry_of_model("digits-vit")), 1e-2, 5e-3)
SETTING = Setting("digits-vit", {"name": "digits"}, batch_size=8, max_steps=9)
PROBE = Probe("pack_size", SETTING, (TRIAL,))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a rate for each pack size; beyond the last its memory is full. Lists the sizes
    that were tried.
    """
    monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path))

    def build(rates: dict[int, float]) -> list[int]:
        tried: list[int] = []

        def rate(model, data, probe, size: int) -> float:
            tried.append(size)
            if size not in rates:
                raise torch.OutOfMemoryError
            return rates[size]

        monkeypatch.setattr(probes, "_rate", rate)
        return tried

    return build


def size(probe: Probe = PROBE) -> int:
    (found,) = probes.PROBES[probe.name](probe, lambda _: (None, None))
    return int(found)


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

    size(replace(PROBE, setting=replace(SETTING, batch_size=16)))
    assert tried == [8, 16, 32] * 2


def test_a_cache_that_is_no_json_is_measured_anew(machine, tmp_path):
    machine({8: 800})
    (tmp_path / "packs.json").write_text("{")
    assert size() == 8
    assert probes.known_sizes() == {probes.capacity_key(SETTING): 8}


def test_rates_are_measured_with_real_packs():
    from tenslora_search.training.segment import worker_backbone

    assert probes._rate(*worker_backbone(SETTING), PROBE, 2) > 0
