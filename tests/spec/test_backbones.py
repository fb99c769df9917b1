"""Backbones: geometries by name, by a folder's config and by the hub's cache; families and their
patterns.
"""

import json

import pytest

from tenslora_search.spec.backbones import (
    BACKBONES,
    geometry_of_config,
    geometry_of_model,
    geometry_of_sites,
    head_of_model,
)
from tenslora_search.spec.families import FAMILIES, family_of
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.sites import SITES, are_sites
from tenslora_search.spec.table import QuestionError

SIZES = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_geometry_and_a_family(name):
    backbone = BACKBONES[name]
    geometry = geometry_of_model(name)
    assert all(
        group.layers >= int(backbone.config["num_hidden_layers"]) for group in geometry.groups
    )
    assert {name for group in geometry.groups for name in group.projections} == {
        "query",
        "key",
        "value",
    }
    assert not backbone.hub or geometry_of_model(backbone.hub) == geometry
    family_of(backbone.config["model_type"])


@pytest.mark.parametrize("name", FAMILIES)
def test_families_do_not_share_model_types(name):
    family = FAMILIES[name]
    assert all(family_of(model_type) is family for model_type in family.model_types)
    assert set(family.patterns(("query", "key", "value", "out", "up", "down"))) == {
        "query",
        "key",
        "value",
        "out",
        "up",
        "down",
    }


@pytest.mark.parametrize(
    ("name", "geometry"),
    [
        ("roberta-base", Geometry.attention(768, 12, 12)),
        ("Llama-3.2-1B", Geometry.attention(2048, 32, 16, kv_heads=8)),
        ("Qwen3-0.6B", Geometry.attention(1024, 16, 28, kv_heads=8, head_dim=128)),
        ("t5-base", Geometry.attention(768, 12, 36, head_dim=64)),
    ],
)
def test_known_geometries(name, geometry):
    assert geometry_of_model(name) == geometry


def test_the_head_of_every_family_counts_what_transformers_gives_it(family, tiny, tmp_path):
    torch = pytest.importorskip("torch")
    from tenslora_search.backbone.readout import StackedHeads

    n_labels = 7
    model, _ = tiny(family, num_labels=n_labels)
    if model.config.is_encoder_decoder:
        import transformers

        kind = type(model).__name__.replace("ConditionalGeneration", "SequenceClassification")
        model = getattr(transformers, kind)(model.config)
    model.config.save_pretrained(tmp_path)
    assert (
        head_of_model(str(tmp_path), n_labels) == StackedHeads(model, [torch.Generator()]).n_params
    )


@pytest.mark.parametrize(
    "projections", [("query", "out"), ("up", "down"), ("up", "gate", "down")], ids="-".join
)
def test_the_config_alone_gives_every_map_of_every_family(family, projections, tiny):
    """As their real shapes do."""
    pytest.importorskip("torch")
    from tenslora_search.nn.places import geometry_of

    model, _ = tiny(family)
    config = model.config.to_dict()
    try:
        expected = geometry_of(model, projections)
    except QuestionError:
        with pytest.raises(QuestionError):
            geometry_of_config(config, projections)
        return
    assert geometry_of_config(config, projections) == expected


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("sites", SITES)
def test_every_model_has_its_sites(name, sites):
    unequal = {"t5-base": "36 of attention, 24", "bart-base": "18 of attention, 12"}
    if name in unequal and sites == "all":
        with pytest.raises(QuestionError, match=f"unequal numbers of layers: {unequal[name]}"):
            geometry_of_sites(name, sites)
        return
    assert are_sites(geometry_of_sites(name, sites).projections, sites)


def test_a_folder_and_the_cache(tmp_path, monkeypatch):
    config = {"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 2}
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert (
        geometry_of_model(str(snapshot))
        == geometry_of_model("some/model")
        == Geometry.attention(12, 3, 2)
    )
    (snapshot / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(QuestionError, match="cannot be read as a model's config"):
        geometry_of_model(str(snapshot))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: geometry_of_model("roberta-bse"),
            "no model named 'roberta-bse' here. Known: digits-vit",
        ),
        (lambda: geometry_of_config({"hidden_size": 8}), "does not say heads and layers"),
        (lambda: family_of("mamba"), "no patterns for a model of type 'mamba'"),
        (
            lambda: geometry_of_config({**SIZES, "model_type": "albert"}),
            "no patterns for a model of type 'albert'. Known: bert",
        ),
        (lambda: geometry_of_config(SIZES), "no patterns for a model of type None"),
        (
            lambda: geometry_of_config({**SIZES, "model_type": "bert"}, ("gate",)),
            "no projection named 'gate' in bert",
        ),
        (
            lambda: FAMILIES["bert"].patterns(("gate",)),
            "no projection named 'gate' in bert. Known: query",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(QuestionError) as error:
        call()
    assert message in str(error.value)
