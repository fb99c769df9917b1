"""Pack size: grows while it pays, stops where memory ends, is remembered; measured here on a
machine that is made up.
"""

import pytest
import torch

from tenslora_search.runs.segment import Probe, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.caught import RANKS, unfoldings
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


GEOMETRY = geometry_of_model("digits-vit")


def asked(name: str) -> tuple[float, ...]:
    from tenslora_search.training.segment import probe

    return probe(Probe(name, SETTING, (TRIAL,)))


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("intrinsic_dimension", GEOMETRY.groups[0].layers + 1),
        ("gradient_energy", GEOMETRY.groups[0].layers * len(GEOMETRY.projections)),
        ("gradient_spectra", len(RANKS) * len(unfoldings(GEOMETRY))),
    ],
)
def test_the_model_is_measured_the_same_each_time_and_left_as_it_was(name, n):
    from tenslora_search.training.segment import worker_backbone

    model = worker_backbone(SETTING)[0].model
    before = {key: (value.clone(), value.requires_grad) for key, value in model.named_parameters()}
    state = torch.random.get_rng_state()
    found = asked(name)
    assert len(found) == n
    assert all(isinstance(one, float) and 0 < one < 1000 for one in found)
    assert asked(name) == found
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for key, (value, needs_gradient) in before.items():
        assert torch.equal(after[key], value)
        assert after[key].requires_grad == needs_gradient
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_energy_is_that_of_each_map_by_plain_autograd():
    """Of the last layer's value map: its weight's gradient, over the same batches and head."""
    from tenslora_search.backbone.readout import StackedHeads
    from tenslora_search.data.batches import Batches
    from tenslora_search.nn.places import find_sites
    from tenslora_search.training.energy import BATCHES
    from tenslora_search.training.segment import worker_backbone

    backbone, data = worker_backbone(SETTING)
    found = asked("gradient_energy")
    layers = GEOMETRY.groups[0].layers
    name = find_sites(backbone.model, ["value"])["value"][-1].module
    weight = backbone.model.get_submodule(name).weight
    heads = StackedHeads(backbone.model, [torch.Generator().manual_seed(0)], backbone.anew)
    needed = weight.requires_grad
    try:
        weight.requires_grad_(True)
        batches = Batches(data.fit, SETTING.batch_size, 0)
        loss = sum(
            data.goal.losses(backbone.model, batches.take(data.fit, batches[step]), 1).sum()
            for step in range(BATCHES)
        )
        (gradient,) = torch.autograd.grad(loss / BATCHES, [weight])
    finally:
        weight.requires_grad_(needed)
        heads.detach()
    place = GEOMETRY.projections.index("value") * layers + layers - 1
    assert found[place] == pytest.approx(float(gradient.float().norm()), rel=2e-2)
