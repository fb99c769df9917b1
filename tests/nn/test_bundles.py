"""Trials of any geometry and map in one pack: each is what it is alone, and what plain arithmetic
says.
"""

import copy
from dataclasses import replace
from typing import Annotated

import pytest
import torch
from torch.func import functional_call

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import TaskData
from tenslora_search.export.factors import trial_factors
from tenslora_search.export.merged import merge
from tenslora_search.export.native import load_adapter, save_native
from tenslora_search.export.peft import save_peft
from tenslora_search.nn.attach import attach
from tenslora_search.nn.bundles import bundles_of, classes_of, layout
from tenslora_search.nn.naive import dense_updates, weights
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

SITES = {
    "qv": ("query", "value"),
    "qkvo": ("query", "key", "value", "out"),
    "all": ("query", "key", "value", "out", "up", "down"),
}
SINTER = {"name": "sinter", "amplitude": 1e-3, "frequency": 500.0}


def assert_close(found, expected, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def mixed(model) -> list[AdapterSpec]:
    """Trials of three geometries, of low rank and dense."""
    qv, qkvo, everything = (geometry_of(model, names) for names in SITES.values())
    tucker = [Structure.of("qkv", "tucker", one).clip((2, 2, 2)) for one in (qv, qkvo)]
    return [
        AdapterSpec.of("qkv", "tucker", tucker[0], qv),
        AdapterSpec.of("none", "cp", (2,), qkvo),
        AdapterSpec.of("none", "cp", (3,), qv, after=SINTER),
        AdapterSpec.of("depth", "cp", (2,), everything),
        AdapterSpec.of("none", "cp", (2,), qv, after={**SINTER, "amplitude": 5e-4}),
        AdapterSpec.of("qkv", "tucker", tucker[1], qkvo, after=SINTER),
    ]


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_each_trial_is_the_plain_reference(family, tiny, perturb):
    """Outputs, and gradients of all factors, of a pack of mixed sites and maps."""
    model, inputs = tiny(family)
    plain, specs = copy.deepcopy(model), mixed(model)
    adapter = attach(model, specs, seeds=range(len(specs)), train_head=False)
    perturb(adapter)
    repeated = {name: value.repeat(len(specs), 1) for name, value in inputs.items()}
    outputs = model(**repeated).logits.chunk(len(specs))
    expected = [
        functional_call(plain, weights(adapter, trial), (), inputs).logits
        for trial in range(len(specs))
    ]
    for found, reference in zip(outputs, expected, strict=True):
        assert_close(found, reference)
    factors = list(adapter.parameters())
    found = torch.autograd.grad(torch.cat(outputs).square().sum(), factors)
    by_hand = torch.autograd.grad(torch.cat(expected).square().sum(), factors)
    for one, other in zip(found, by_hand, strict=True):
        assert_close(one, other, 1e-4)


def test_a_uniform_pack_is_one_update_a_site(tiny, small_spec):
    """The kernels of a pack of one geometry are as few as ever; each dense map is its own."""
    model, _ = tiny("bert")
    geometry = geometry_of(model)
    specs = [small_spec(c, "cp", geometry) for c in ("none", "none", "qkv", "depth")]
    assert [len(one) for one in classes_of(bundles_of(sorted(specs, key=layout)))] == [3]
    adapter = attach(model, sorted(specs, key=layout))
    adapter.refresh()
    for site in adapter.sites.values():
        assert [(one.first, one.last) for one in site.updates] == [(0, 4)]
    adapter.detach()
    specs = sorted(mixed(model), key=layout)
    bundles = bundles_of(specs)
    assert [bundle.trials for bundle in bundles] == [
        range(bundle.first, bundle.last) for bundle in bundles
    ]
    assert sum(len(bundle.trials) for bundle in bundles) == len(specs)
    adapter = attach(model, specs)
    adapter.refresh()
    ups = [s for name, s in adapter.sites.items() if name.endswith("intermediate.dense")]
    assert all(len(site.updates) == 1 for site in ups)


def test_dense_updates_of_loran(tiny, perturb):
    """Scale x f(A B) with f(z) = z + a z sin(w z): of a higher rank than A B; nearly LoRA where a
    is next to nothing.
    """
    model, _ = tiny("bert")
    geometry = geometry_of(model, SITES["qv"])
    lora = AdapterSpec.of("none", "cp", (2,), geometry, scale="alpha", alpha=0.5)
    loran = AdapterSpec.of("none", "cp", (2,), geometry, scale="alpha", alpha=0.5, after=SINTER)
    tame = AdapterSpec.of(
        "none", "cp", (2,), geometry, scale="alpha", alpha=0.5,
        after={"name": "sinter", "amplitude": 1e-6, "frequency": 100.0},
    )  # fmt: skip
    found = {}
    for name, spec in (("lora", lora), ("loran", loran), ("tame", tame)):
        adapter = attach(model, spec)
        perturb(adapter)
        updates = adapter.updates()
        found[name] = updates["query", 1]
        for projection, layer, expected in dense_updates(adapter):
            made = updates[projection, layer]
            assert_close(made[0] @ made[1] if len(made) == 2 else made[0], expected)
        adapter.detach()
    (a, b), (dense,), (nearly,) = found["lora"], found["loran"], found["tame"]
    pair = a @ b
    z = pair / 0.5
    assert_close(dense, 0.5 * (z + 1e-3 * z * torch.sin(500.0 * z)))
    assert torch.linalg.matrix_rank(pair) == 2
    assert torch.linalg.matrix_rank(dense.double(), rtol=1e-6) > 2
    assert_close(nearly, pair, 5e-6)


def test_exports_of_dense_updates(tiny, perturb, tmp_path):
    model, inputs = tiny("gpt2")
    plain, specs = copy.deepcopy(model), mixed(model)
    adapter = attach(model, specs, seeds=range(len(specs)))
    perturb(adapter)
    repeated = {name: value.repeat(len(specs), 1) for name, value in inputs.items()}
    for trial, expected in enumerate(model(**repeated).logits.detach().chunk(len(specs))):
        one = copy.deepcopy(plain)
        load_adapter(one, save_native(adapter, tmp_path / str(trial), trial=trial))
        assert one.adapter.specs == (specs[trial],)
        assert_close(one(**inputs).logits, expected)
        merged = merge(copy.deepcopy(model).adapter, trial=trial)
        assert_close(merged(**inputs).logits, expected)
        if specs[trial].is_low_rank:
            save_peft(adapter, tmp_path / f"peft{trial}", trial=trial)
            continue
        with pytest.raises(QuestionError, match=r"sinter.*full rank.*merged or native") as error:
            save_peft(adapter, tmp_path / f"peft{trial}", trial=trial)
        assert "\n" not in str(error.value)
        assert not (tmp_path / f"peft{trial}").exists()


STEPS = 6


@pytest.fixture(scope="module")
def data() -> TaskData:
    def split(n_rows: int, seed: int) -> Split:
        ids = torch.randint(3, 32, (n_rows, 6), generator=torch.Generator().manual_seed(seed))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return Split(inputs, (ids[:, 1] >= 17).long(), torch.full((n_rows,), 6))

    fit, select, report = (split(n, seed) for seed, n in enumerate((40, 20, 20)))
    return TaskData("first token", Classes(("low", "high"), "accuracy"), fit, select, report, "")


def test_training_in_one_pack(tiny, data, tmp_path):
    """LoRAN's map and `qv` beside `qkvo` beside all maps: alone is packed, paused is unbroken."""
    from safetensors.torch import load_file

    from tenslora_search.training.pack import Pack

    model, _ = tiny("bert")
    trials = [
        TrialSpec(spec, 0.01 * (1 + number % 2), 0.005, seed=number)
        for number, spec in enumerate(mixed(model))
    ]

    def learnt(pack: Pack, place: int, name: str) -> dict[str, torch.Tensor]:
        return load_file(pack.save(place, tmp_path / f"{name}.safetensors"))

    options = {"max_steps": STEPS, "batch_size": 8}
    with Pack(model, data, trials, **options) as pack:
        losses = pack.advance(STEPS)
        together = [learnt(pack, k, f"together{k}") for k in range(len(trials))]
    for number, trial in enumerate(trials):
        with Pack(model, data, [trial], **options) as pack:
            assert pack.advance(STEPS)[0] == pytest.approx(losses[number], abs=1e-5)
            alone = learnt(pack, 0, "alone")
        assert alone.keys() == together[number].keys()
        for name, value in alone.items():
            torch.testing.assert_close(value, together[number][name], rtol=1e-5, atol=1e-5)
    chosen = [2, 1, 5]
    with Pack(model, data, [trials[k] for k in chosen], **options) as pack:
        pack.advance(2)
        states = [pack.save(k, tmp_path / f"paused{k}.safetensors") for k in range(len(chosen))]
    with Pack(
        model, data, [trials[k] for k in chosen[::-1]], from_step=2, states=states[::-1], **options
    ) as pack:
        pack.advance(STEPS)
        for place, number in enumerate(chosen[::-1]):
            for name, value in learnt(pack, place, "resumed").items():
                torch.testing.assert_close(value, together[number][name], rtol=1e-5, atol=1e-5)


def test_training_with_hardly_any_map_is_lora(tiny, data):
    from tenslora_search.training.pack import Pack

    model, _ = tiny("bert")
    lora = TrialSpec(AdapterSpec.of("none", "cp", (2,), geometry_of(model)), 0.01, 0.005, seed=1)
    tame = {"name": "sinter", "amplitude": 1e-6, "frequency": 100.0}
    spec = AdapterSpec.of("none", "cp", (2,), geometry_of(model), after=tame)
    with Pack(
        model, data, [lora, replace(lora, adapter=spec)], max_steps=STEPS, batch_size=8
    ) as pack:
        pack.advance(STEPS)
        one, other = (trial_factors(pack.adapter, trial) for trial in range(2))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "rank"), [("bert", 50), ("gpt2", 50), ("llama", 30)])
def test_pairs_of_a_larger_rank_than_their_map(family, rank, tiny, perturb, tmp_path):
    """CP over everything may have a rank above the width; a checkpoint holds no more than the
    width.
    """
    import json

    from peft import PeftModel

    model, inputs = tiny(family)
    plain = copy.deepcopy(model)
    spec = AdapterSpec.of("qkv_depth", "cp", (rank,), geometry_of(model))
    adapter = attach(model, spec)
    perturb(adapter)
    expected = model(**inputs).logits
    save_peft(adapter, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert max(config["r"], *config["rank_pattern"].values(), 0) <= 32
    assert_close(PeftModel.from_pretrained(plain, tmp_path)(**inputs).logits, expected)


def bent(
    update: torch.Tensor,
    *,
    way: Annotated[str, Choice(("up", "down"))] = "up",
    much: Annotated[float, Range(0.1, 1.0)] = 0.5,
) -> torch.Tensor:
    """A map with a knob that is no number."""
    return update + (much if way == "up" else -much) * update.square()


def test_a_knob_of_a_map_may_be_a_word(tiny, perturb):
    MAPS.add("bent", bent)
    try:
        model, inputs = tiny("bert")
        geometry, plain = geometry_of(model), copy.deepcopy(model)
        said = [{"way": "up"}, {"way": "down"}, {"way": "down", "much": 0.2}]
        specs = [
            AdapterSpec.of("none", "cp", (2,), geometry, after={"name": "bent", **one})
            for one in said
        ]
        adapter = attach(model, specs, seeds=range(3), train_head=False)
        perturb(adapter)
        repeated = {name: value.repeat(3, 1) for name, value in inputs.items()}
        for trial, found in enumerate(model(**repeated).logits.chunk(3)):
            assert_close(found, functional_call(plain, weights(adapter, trial), (), inputs).logits)
        assert [len(bundle.trials) for bundle in bundles_of(specs)] == [1, 2]
    finally:
        MAPS.remove("bent")
