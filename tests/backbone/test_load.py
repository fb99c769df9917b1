"""Backbones and processors by name or folder: heads, pad tokens, checked weights, and nothing but
safetensors.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import Classes, Numbers
from tenslora_search.data.processors import load_processor
from tenslora_search.hub import places
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.hub.places import MINILM_PACKAGE, model_kind, model_place
from tenslora_search.spec.table import QuestionError

from ..conftest import save_tokenizer


def classes(n: int) -> Classes:
    return Classes(tuple(map(str, range(n))))


def test_an_encoder_a_decoder_and_a_vision_model_get_a_head(tiny_bert, tiny_gpt, tiny_vit):
    for name, starts in ((tiny_bert, "BertFor"), (tiny_gpt, "GPT2For"), (tiny_vit, "ViTFor")):
        model = load_backbone(name, classes(7)).model
        assert type(model).__name__.startswith(starts)
        assert model.config.num_labels == 7
        assert not model.training
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert model.config._attn_implementation == "sdpa"
    assert load_backbone(tiny_bert, Numbers()).model.config.num_labels == 1


def test_the_backbone_is_read_and_the_head_is_new_and_the_same_each_time(tiny_bert):
    from safetensors.torch import load_file

    before = torch.random.get_rng_state()
    one, other = (
        load_backbone(tiny_bert, classes(5)).model.state_dict(),
        load_backbone(tiny_bert, classes(5)).model.state_dict(),
    )
    stored = load_file(Path(tiny_bert, "model.safetensors"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(
        torch.equal(value, one[name]) for name, value in stored.items() if name.startswith("bert.")
    )
    assert one["classifier.weight"].shape == (5, 16)


def rename_weights(folder: Path, new_name) -> None:
    """Saves the weights under the names that new_name gives; those it gives none are left out."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    named = {new: value for name, value in tensors.items() if (new := new_name(name))}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **change: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


@pytest.mark.parametrize(
    ("damage", "count", "first"),
    [
        (
            lambda folder: rename_weights(folder, "module.student.{}".format),
            37,
            "bert.embeddings.LayerNorm.bias",
        ),
        (
            lambda folder: rename_weights(folder, lambda name: None if "layer.1" in name else name),
            16,
            "bert.encoder.layer.1",
        ),
        (
            lambda folder: change_config(folder, intermediate_size=48),
            6,
            "bert.encoder.layer.0.intermediate.dense.bias",
        ),
        (lambda folder: change_config(folder, num_hidden_layers=3), 16, "bert.encoder.layer.2"),
    ],
    ids=["another prefix", "a layer missing", "another size", "more layers"],
)
def test_weights_that_are_not_those_of_the_config(folder, damage, count, first):
    damage(folder)
    with pytest.raises(
        QuestionError,
        match=rf"its weights lack {count} of \d+ parameters of its config.*first: {first}",
    ) as error:
        load_backbone(str(folder), classes(2))
    assert "\n" not in str(error.value)


def test_a_head_of_another_size_and_a_missing_pooler_start_anew(folder):
    assert load_backbone(str(folder), classes(2)).anew == ()
    assert load_backbone(str(folder), classes(3)).anew == (
        "classifier.bias",
        "classifier.weight",
    )
    rename_weights(folder, lambda name: None if "pooler" in name else name)
    pooler = ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    assert load_backbone(str(folder), classes(2)).anew == pooler


@pytest.mark.parametrize(
    "family", ["vit", "deit", "modernbert", "llama", "gpt2", "distilbert", "deberta-v2", "roberta"]
)
def test_a_base_without_a_head_is_enough(family, tiny, tmp_path):
    """Embeddings tied to a language model's output, too: nothing but the head starts anew."""
    model, _ = tiny(family, **({} if family in ("vit", "deit") else {"tie_word_embeddings": True}))
    model.base_model.save_pretrained(tmp_path)
    if family not in ("vit", "deit"):
        save_tokenizer(tmp_path, types=False)
    loaded, anew = load_backbone(str(tmp_path), classes(3))
    assert isinstance(loaded, type(model))
    head = set(anew)
    assert head
    assert all(
        torch.equal(value, model.state_dict()[name])
        for name, value in loaded.state_dict().items()
        if name not in head
    )


def test_a_decoder_knows_its_pad_token(tiny_gpt):
    tokenizer = load_processor(tiny_gpt)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert load_backbone(tiny_gpt, classes(2)).model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.padding_side == tokenizer.truncation_side == "right"


def test_the_pad_token_is_the_tokenizer_s_whatever_the_config_says(tiny_gpt, tmp_path):
    """A decoder is read at the last token that is no padding, so that padding changes nothing."""
    folder = Path(shutil.copytree(tiny_gpt, tmp_path / "gpt"))
    change_config(folder, pad_token_id=5)
    tokenizer, model = load_processor(str(folder)), load_backbone(str(folder), classes(2)).model
    alone = model(**tokenizer(["good film"], return_tensors="pt")).logits
    padded = model(
        **tokenizer(["good film", "a very very dull plot"], padding=True, return_tensors="pt")
    ).logits
    torch.testing.assert_close(padded[:1], alone)
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_texts_are_cut_where_the_positions_end(tiny_roberta, tmp_path):
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "roberta"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, "model_max_length": 10**30})
    )
    tokenizer = load_processor(str(folder))
    ids = tokenizer("good " * 100, truncation=True, return_tensors="pt")["input_ids"]
    assert load_backbone(str(folder), classes(2)).model(input_ids=ids).logits.isfinite().all()
    assert ids.shape == (1, 64)  # of 66 positions RoBERTa skips those up to its pad token's number


def test_a_model_of_one_token_type_is_told_no_types(tiny_roberta, tiny_bert, tmp_path):
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    folder = str(
        shutil.copytree(tiny_bert, tmp_path / "model")
    )  # its tokenizer tells the parts of a pair
    AutoModelForMaskedLM.from_config(
        AutoConfig.from_pretrained(tiny_roberta, type_vocab_size=1)
    ).save_pretrained(folder)
    load_processor(folder).save_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)(
        "good film", "bad film", return_tensors="pt"
    )  # as an export's user does
    assert inputs.keys() == {"input_ids", "attention_mask"}
    assert load_backbone(folder, classes(2)).model(**inputs).logits.isfinite().all()
    assert "token_type_ids" in load_processor(tiny_bert)("good film", "bad film")


def test_what_a_model_reads(tiny_bert, tiny_vit):
    assert (model_kind(tiny_bert), model_kind(tiny_vit)) == ("text", "image")
    processor = load_processor(tiny_vit)
    assert isinstance(processor, ImageProcessor)
    assert (processor.height, processor.mean) == (12, (0.1, 0.2, 0.3))


def test_a_vision_model_without_a_preprocessor_takes_the_size_of_its_config(tiny_vit, tmp_path):
    folder = shutil.copytree(
        tiny_vit, tmp_path / "vit", ignore=shutil.ignore_patterns("preprocessor*")
    )
    assert load_processor(str(folder)) == ImageProcessor(12, 12)


@pytest.fixture
def folder(tiny_bert, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def test_pickled_weights_are_never_opened(folder):
    (folder / "model.safetensors").unlink()
    torch.save(torch.nn.Linear(1, 1), folder / "pytorch_model.bin")
    with pytest.raises(
        QuestionError, match="has no safetensors weights, the only kind that is opened"
    ):
        load_backbone(str(folder), classes(2))


def test_code_that_comes_with_a_model_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(QuestionError, match="needs code that comes with it, which is never run"):
        load_backbone(str(folder), classes(2))


def damage_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "clap"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_weights, "cannot load model .*: "),
        (
            lambda folder: (folder / "config.json").unlink(),
            "holds no model: config.json is missing",
        ),
        (
            lambda folder: (folder / "config.json").write_text("{"),
            "cannot be read as a model's config: ",
        ),
        (of_another_kind, "is a 'clap', which transformers cannot give a classification head"),
    ],
    ids=["cut weights", "no config", "broken config", "another kind"],
)
def test_a_folder_that_holds_no_usable_model(folder, damage, message):
    damage(folder)
    with pytest.raises(QuestionError, match=message) as error:
        load_backbone(str(folder), classes(2))
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_cannot_pad(tiny_gpt, tmp_path):
    folder = Path(shutil.copytree(tiny_gpt, tmp_path / "gpt"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({name: one for name, one in config.items() if name != "eos_token"})
    )
    with pytest.raises(QuestionError, match="has neither a pad nor an end-of-text token"):
        load_processor(str(folder))


@pytest.mark.parametrize(
    "name", ["a name with spaces", "three/part/id", "./nowhere", "/no/where", "~/nowhere", __file__]
)
def test_what_can_be_no_model(name):
    with pytest.raises(QuestionError, match="neither a local folder nor a hub id"):
        model_place(name)


@pytest.fixture
def fresh_minilm():
    places._minilm.cache_clear()
    yield
    places._minilm.cache_clear()


def test_minilm_is_the_installed_package_checked(fresh_minilm):
    folder = Path(model_place("minilm"))
    assert (folder / "model.safetensors").is_file()
    assert load_backbone("minilm", classes(2)).model.config.hidden_size == 384


def test_minilm_with_other_weights_is_refused(fresh_minilm, monkeypatch, tmp_path):
    import importlib

    package = importlib.import_module(MINILM_PACKAGE)
    (tmp_path / "model.safetensors").write_bytes(
        Path(package.MODEL_DIR, "model.safetensors").read_bytes()[:-1] + b"\0"
    )
    monkeypatch.setattr(package, "MODEL_DIR", tmp_path)
    with pytest.raises(
        QuestionError, match=r"minilm's weights in .* are not the known ones: sha256 [0-9a-f]{64}"
    ):
        load_backbone("minilm", classes(2))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(QuestionError, match="sha256 no file; install the package anew"):
        load_backbone("minilm", classes(2))


def test_minilm_is_the_hub_s_where_the_package_is_missing(fresh_minilm, monkeypatch):
    monkeypatch.setattr(places, "MINILM_PACKAGE", "no_such_package_here")
    assert model_place("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
