"""Every named method, in one pack and alone: it starts at zero, its count is its formula's, its
module's and its file's, alone is packed, paused is unbroken, and its exports compute what it does.
"""

import copy
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from tenslora_search.export.factors import set_trial_factors, trial_factors
from tenslora_search.export.merged import merge
from tenslora_search.export.native import NATIVE_FILE, load_adapter, save_native
from tenslora_search.export.peft import save_peft
from tenslora_search.nn.attach import Adapter, attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

N_STEPS = 8


def trial_of(name: str, geometry: Geometry) -> TrialSpec:
    """The method's point with ranks of 2, as far as they are useful."""
    method = METHODS[name]
    structure = Structure.of(*method[:2], geometry, after=method.map)
    adapter = AdapterSpec.over(structure, structure.clip([2] * len(structure.bonds)))
    return TrialSpec(
        adapter, 5e-3, 2e-3, weight_decay=0.05, warmup=0.2, seed=len(name), rule=method.rule,
        allocator=method.allocator,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trials(bert) -> dict[str, TrialSpec]:
    return {
        name: trial_of(name, geometry_of(bert, SITES[method.sites or "qkv"].split()))
        for name, method in METHODS.items()
    }


def pack(model, data, trials, **more) -> Pack:
    return Pack(model, data, trials, max_steps=N_STEPS, batch_size=8, **more)


@pytest.fixture(scope="module")
def together(bert, data, trials, learnt, tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """The state of each method after all steps, from one pack of all."""
    folder = tmp_path_factory.mktemp("together")
    with pack(bert, data, list(trials.values())) as everybody:
        everybody.advance(N_STEPS)
        return {name: learnt(everybody, folder, k) for k, name in enumerate(trials)}


def test_paused_is_unbroken(bert, data, trials, together, learnt, tmp_path):
    """Bit for bit in the same pack."""
    states = None
    for start, stop in pairwise((0, 3, N_STEPS)):
        with pack(bert, data, list(trials.values()), from_step=start, states=states) as part:
            part.advance(stop)
            states = [part.save(k, tmp_path / f"{stop}.{k}") for k in range(len(trials))]
            found = [learnt(part, tmp_path / "again", k) for k in range(len(trials))]
    for (name, expected), state in zip(together.items(), found, strict=True):
        assert state.keys() == expected.keys()
        for key, value in state.items():
            assert torch.equal(value, expected[key]), (name, key)


@pytest.mark.parametrize("name", METHODS)
def test_alone_is_packed_and_frozen_factors_stay(
    name, bert, data, trials, together, learnt, assert_same, tmp_path
):
    spec = trials[name].adapter
    with pack(bert, data, [trials[name]]) as alone:
        for matrices in alone.adapter.updates().values():
            whole = matrices[0] @ matrices[1] if len(matrices) == 2 else matrices[0]
            assert whole.abs().max() <= 1e-6
        assert spec.n_params == sum(spec.factor_counts.values())
        assert spec.n_params == sum(
            tensor.entries(key, 0).sum()
            for tensor, _ in alone.adapter.tensors_of(0)
            for key in tensor.factors
        )
        frozen = {
            f"value.{group}.{key}": value[0].clone()
            for group, (tensor, _) in enumerate(alone.adapter.tensors_of(0))
            for key, value in tensor.frozen.named_buffers()
        }
        alone.advance(N_STEPS)
        state = learnt(alone, tmp_path)
        assert max(one.abs().max() for found in alone.adapter.updates().values() for one in found)
    assert_same(state, together[name])
    rules = trials[name].rule.make(RULES), spec.networks[0].form.rule
    if not any(rule and rule.between for rule in rules):  # a chain draws its frozen side anew
        for key, value in frozen.items():
            assert torch.equal(state[key], value), key
            assert f"mean{key.removeprefix('value')}" not in state


@pytest.mark.parametrize("name", METHODS)
def test_exports_compute_what_it_does(name, bert, trials, together, tmp_path):
    from peft import PeftModel

    model, spec = copy.deepcopy(bert), trials[name].adapter
    ids = torch.randint(4, 30, (3, 9), generator=torch.Generator().manual_seed(0))
    values = {key.removeprefix("value."): one for key, one in together[name].items()}
    adapter = attach(model, spec)
    set_trial_factors(adapter, values)
    enlarge(adapter)
    expected = model(ids).logits.detach()
    save_native(adapter, tmp_path / "native")
    stored = load_file(tmp_path / "native" / NATIVE_FILE)
    frozen = {factor.name for factor in spec.networks[0].form.learnt if factor.frozen}
    sizes = [one.numel() for key, one in stored.items() if key.startswith("factors.")
             and key.split(".", 2)[2] not in frozen]  # fmt: skip
    assert sum(sizes) == spec.n_params
    if spec.is_low_rank:
        save_peft(adapter, tmp_path / "peft")
        again = PeftModel.from_pretrained(copy.deepcopy(bert), tmp_path / "peft")
        assert_close(again(ids).logits, expected)
    else:
        with pytest.raises(QuestionError, match="full rank, which peft's LoRA cannot hold"):
            save_peft(adapter, tmp_path / "peft")
    assert_close(merge(adapter)(ids).logits, expected)
    other = copy.deepcopy(bert)
    assert load_adapter(other, tmp_path / "native").specs == (spec,)
    assert_close(other(ids).logits, expected)
    assert (expected - bert(ids).logits).abs().max() > 5e-5


def enlarge(adapter: Adapter) -> None:
    """What a few steps have learnt from zero, larger, so that a difference would be seen."""
    form = adapter.specs[0].networks[0].form
    grown = {factor.name for factor in form.counted if factor.start == "zero"}
    factors = trial_factors(adapter)
    larger = {key: value * 100 for key, value in factors.items() if key.split(".", 1)[1] in grown}
    set_trial_factors(adapter, factors | larger)


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


def test_shared_frozen_factors_are_drawn_and_saved_once(together, trials):
    """Of the trial's own generator: another seed, other factors."""
    state = {key: value.shape for key, value in together["VeRA"].items() if "value.0." in key}
    assert state["value.0.input"] == state["value.0.output"] == (16, 2)
    assert state["value.0.columns"] == (3, 2, 16)
    spec = trials["VeRA"].adapter
    one, other, again = (
        FactoredTensor([spec], 0, [torch.Generator().manual_seed(seed)]).arrays["input"]
        for seed in (1, 2, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_lora_xs_begins_from_the_weights_of_its_model(bert):
    """A R B spans the leading singular directions of each weight, their sizes in A."""
    geometry = geometry_of(bert)
    adapter = attach(bert, AdapterSpec.of("none", "lora_xs", (3, 3), geometry))
    try:
        tensor, _ = adapter.tensors_of(0)[0]
        inner, outer = (tensor.arrays[key][0] for key in ("input", "output"))
        for projection, name in enumerate(geometry.projections):
            for layer, place in enumerate(adapter.places[name]):
                u, s, vh = torch.linalg.svd(bert.get_submodule(place.module).weight.T)
                a, b = inner[projection, layer], outer[projection, layer]
                scaled = u[:, :3] * s[:3] / s[:3].square().mean().sqrt()
                torch.testing.assert_close(a.abs(), scaled.abs(), rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(b.abs(), vh[:3].T.abs(), rtol=1e-3, atol=1e-4)
    finally:
        adapter.detach()
