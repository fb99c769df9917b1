"""Exports: from a pack's state to a folder whose own card's code gives the pack's logits; into no
folder of something else.
"""

import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import Classes, Labels
from tenslora_search.data.processors import load_processor
from tenslora_search.data.task import load_task
from tenslora_search.export.card import TAG, _without_places, card
from tenslora_search.export.facts import Facts
from tenslora_search.export.formats import FORMATS, Format
from tenslora_search.export.target import export_folder
from tenslora_search.export.trained import base_of, export_trained, load_trained
from tenslora_search.listing import lines_of
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec import declared
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

FACTS = Facts(
    number=3, task="own", metric="accuracy", kind="text", training={"steps": 6, "batch_size": 16,
    "max_length": 32}, report_rows=24, select_score=0.75, report_scores=[0.8125, 0.75], budget=2000,
    head_params=34, goal=Classes(("no", "yes"), "accuracy"),
    command="tenslora-search --budget 2000\ntenslora-search export runs/own --pick 3",
)  # fmt: skip


@pytest.fixture(scope="module")
def no_pooler(tiny_bert, tmp_path_factory) -> str:
    """A BERT as masked-language training leaves it: without the pooler that its classifier reads
    from.
    """
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "no-pooler"
    BertForMaskedLM(BertConfig.from_pretrained(tiny_bert)).save_pretrained(folder)
    load_processor(tiny_bert).save_pretrained(folder)  # type: ignore[union-attr]
    return str(folder)


@pytest.fixture(scope="module")
def train(small_spec, reviews, tmp_path_factory):
    """train(model) -> a trial trained for a few steps beside another: state, model, data, facts,
    logits on report.
    """

    def run(model: str, *, regression: bool = False):
        folder = tmp_path_factory.mktemp("trained")
        if "vit" in model:
            data = load_task("digits", model=model, fit_rows=40)
        else:
            lengths = [len(text) * 2.5 + 100.25 for text in reviews["sentence"]]
            rows = reviews.assign(label=lengths) if regression else reviews
            rows.to_csv(folder / "own.csv", index=False)
            data = load_task(data=folder / "own.csv", model=model, max_length=32)
        backbone, anew = load_backbone(model, data.goal)
        geometry = geometry_of(backbone)
        specs = small_spec("none", "cp", geometry, 3), small_spec("depth", "tucker", geometry)
        trials = [TrialSpec(spec, 0.05, 0.02, seed=seed) for seed, spec in enumerate(specs)]
        with Pack(backbone, data, trials, max_steps=6, batch_size=16, anew=anew) as pack:
            pack.advance(6)
            state = pack.save(1, folder / "1.safetensors")
            logits = torch.from_numpy(pack.predict(data.report)[1])
        facts = replace(
            FACTS, kind="image" if "vit" in model else "text", goal=data.goal, task=data.name
        )
        return state, model, data, facts, logits

    return run


@pytest.fixture(
    scope="module",
    params=[
        "tiny_bert",
        "tiny_gpt",
        "tiny_vit",
        "no_pooler",
        "tiny_bert regression",
        "tiny_gpt regression",
    ],
)
def trained(request, train):
    model, *regression = request.param.split()
    return train(request.getfixturevalue(model), regression=bool(regression))


@pytest.fixture(scope="module")
def digits(train):
    return train("digits-vit")


def run_code(readme: Path) -> dict:
    """What the card's first code block makes."""
    code = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)[0]
    made: dict = {}
    exec(code, made)
    return made


def rows_of(split) -> dict[str, torch.Tensor]:
    if split.processor is not None:
        return {"pixel_values": split.processor.normalise(split.inputs["pixel_values"])}
    return split.inputs


def assert_answers_in_the_labels_units(readme: Path, made: dict, data) -> None:
    """The card's second code block, on a text of the task: what it answers lies among the
    labels."""
    code = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(code.replace("a text", "the plot was very dull"), made)
    assert float(data.fit.labels.min()) < made["answer"] < float(data.fit.labels.max())


@pytest.mark.parametrize("format", list(FORMATS))
def test_the_cards_own_code_gives_the_logits_of_the_pack(trained, format, tmp_path):
    state, model, data, facts, expected = trained
    to = tmp_path / "made" / format
    assert export_trained(state, to, format, model=model, facts=facts) == to
    made = run_code(to / "README.md")
    with torch.no_grad():
        logits = made["model"](**rows_of(data.report)).logits
    config = made["model"].config
    logits = (
        logits[:, 0] + getattr(config, "label_offset", 0.0)
        if data.goal.name == "numbers"
        else logits
    )
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    if data.goal.name == "numbers":
        assert config.num_labels == 1
        assert_answers_in_the_labels_units(to / "README.md", made, data)
    else:
        assert config.id2label == dict(enumerate(data.goal.names))
        assert config.label2id == {label: number for number, label in enumerate(data.goal.names)}
    if facts.kind == "text":
        texts = ["the plot was very dull", "good"]
        assert made["tokenizer"](texts)["input_ids"] == load_processor(model)(texts)["input_ids"]  # type: ignore[operator]
    else:
        picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).convert("RGB")
        file = io.BytesIO()
        picture.save(file, format="PNG")
        ours = data.report.processor.normalise(
            data.report.processor.pixels([file.getvalue()], names=["it"])
        )
        assert (
            made["processor"](picture, return_tensors="pt")["pixel_values"] - ours
        ).abs().max() < 1e-5
    assert [path.name for path in to.parent.iterdir()] == [format]


@pytest.fixture(scope="module")
def bert_trained(train, tiny_bert):
    return train(tiny_bert)


def test_for_a_server_without_its_head(bert_trained, tmp_path):
    """Factors alone, of one rank, as vLLM's loader wants them; the card's code puts the head on."""
    state, model, data, facts, expected = bert_trained
    options = {"uniform_rank": True, "head": False}
    export_trained(state, tmp_path / "to", "peft", model=model, facts=facts, options=options)
    config = json.loads((tmp_path / "to" / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"], config["modules_to_save"]) == (8, {}, None)
    names = load_file(tmp_path / "to" / "adapter_model.safetensors")
    assert all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)
    assert {8} == {value.shape[0] for name, value in names.items() if "lora_A" in name}
    with torch.no_grad():
        logits = run_code(tmp_path / "to" / "README.md")["model"](**rows_of(data.report)).logits
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert "| served as | LoRA of rank 8, " in (tmp_path / "to" / "README.md").read_text()


def test_fewer_ranks_are_measured_on_select(bert_trained, tmp_path, caplog):
    state, model, data, facts, _ = bert_trained
    asked = {"model": model, "facts": facts, "options": {"rank": 1}}
    with caplog.at_level(logging.WARNING, logger="tenslora_search"):
        to = export_trained(state, tmp_path / "to", "peft", **asked, select=lambda: data.select)
    made = run_code(to / "README.md")
    with torch.no_grad():
        logits = made["model"](**rows_of(data.select)).logits
    after = data.goal.score(logits.numpy(), data.select.labels.numpy())
    assert re.search(
        rf"compressed to rank 1: .* {after:.4f} after \|", (to / "README.md").read_text()
    )
    assert "compressed to rank 1" in caplog.text

    def gone():
        raise QuestionError("the data are no more.")

    to = export_trained(state, tmp_path / "other", "peft", **asked, select=gone)
    assert "not scored here |" in (to / "README.md").read_text()
    for format in ("native", "merged"):
        with pytest.raises(QuestionError, match=rf"--rank is for --format peft; .* {format}"):
            export_trained(state, tmp_path / "none", format, **asked)
    with pytest.raises(QuestionError, match=r"no option of an export named 'ranks'.*'rank'"):
        export_trained(state, tmp_path / "none", "peft", **asked | {"options": {"ranks": 1}})


def test_fewer_ranks_on_weights_that_take_no_update_are_not_scored(
    bert_trained, tmp_path, caplog, monkeypatch
):
    """Weights of 4 bits: there is nothing to add a pair to."""
    state, model, data, facts, _ = bert_trained

    def loaded(*arguments, **options):
        found = load_trained(*arguments, **options)
        found.adapter.model.is_quantized = True
        return found

    monkeypatch.setattr("tenslora_search.export.trained.load_trained", loaded)
    asked = {"model": model, "facts": facts, "options": {"rank": 1}, "select": lambda: data.select}
    to = export_trained(state, tmp_path / "to", "peft", **asked)
    assert "select is not known: quantized weights take no update." in caplog.text
    assert "not scored" in (to / "README.md").read_text()


def test_a_pipeline_cuts_texts_as_training_did(bert_trained, tmp_path):
    """Texts far longer than the model has positions for."""
    state, model, data, facts, _ = bert_trained
    to = export_trained(state, tmp_path / "to", "merged", model=model, facts=facts)
    made = run_code(to / "README.md")
    code = re.findall(r"```python\n(.*?)```", (to / "README.md").read_text(), re.DOTALL)[2]
    exec(code.replace("a text", "dull " * 600), made)
    assert {one["label"] for one in made["answers"]} <= set(data.goal.names)
    assert made["tokenizer"].model_max_length == facts.training["max_length"]
    assert len(made["tokenizer"]("dull " * 600, truncation=True)["input_ids"]) == 32


def test_a_base_on_no_hub_travels_along(tmp_path, digits):
    state, model, data, facts, expected = digits
    export_trained(state, tmp_path / "made", "peft", model=model, facts=facts)
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    readme = moved / "README.md"
    readme.write_text(readme.read_text().replace(repr(str(tmp_path / "made")), repr(str(moved))))
    with torch.no_grad():
        logits = run_code(readme)["model"](**rows_of(data.report)).logits
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    export_trained(state, tmp_path / "merged", "merged", model=model, facts=facts)
    assert not (tmp_path / "merged" / "base").exists()


def test_a_base_that_travels_along_is_pushed_with_no_path_of_this_machine(tmp_path, digits):
    state, model, _, facts, _ = digits
    to = tmp_path / "made"
    facts = replace(facts, push="me/it", command=f"tenslora-search export {tmp_path}/run --pick 3")
    export_trained(state, to, "peft", model=model, facts=facts)
    for file in (path for path in to.rglob("*") if path.is_file()):
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert json.loads((to / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert "tenslora-search export run --pick 3" in (to / "README.md").read_text()


def test_a_base_that_a_package_holds_can_be_come_by(monkeypatch, tmp_path):
    monkeypatch.setattr("tenslora_search.export.trained.model_place", lambda name: str(tmp_path))
    of_hub, of_none = (base_of(name, tmp_path / "adapter") for name in ("minilm", "smollm2"))
    assert of_hub.hub == "sentence-transformers/all-MiniLM-L6-v2"
    assert of_none.hub is None
    assert all("pip install" in one.note for one in (of_hub, of_none))
    assert 'model_place("smollm2")' in of_none.note


def test_the_card(digits, tmp_path):
    state, model, _, facts, _ = digits
    export_trained(state, tmp_path, "peft", model=model, facts=facts)
    _, front, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["library_name"] == "peft"
    assert {TAG, "lora"} <= set(matter["tags"])
    assert matter["metrics"] == ["accuracy"]
    metrics = [one for found in matter["model-index"][0]["results"] for one in found["metrics"]]
    values = {one["name"]: one["value"] for one in metrics}
    assert values["accuracy on report, these weights"] == 0.8125
    assert values["accuracy on report, mean of 2 seeds"] == 0.78125
    assert values["accuracy on report, standard deviation over 2 seeds"] == pytest.approx(
        0.0442, abs=1e-4
    )
    assert "base_model" not in matter  # hubs take ids of theirs only
    for said in (
        "| 0.8125 |",
        "| 0.7812 ± 0.0442",
        "| 0.7500 |",
        "2,000",
        "export runs/own --pick 3",
        "on no hub",
    ):
        assert said in body
    configuration = json.loads(re.findall(r"```json\n(.*?)```", body, re.DOTALL)[0])
    assert configuration.pop("steps") == 6
    for name in ("batch_size", "max_length"):
        del configuration[name]
    spec = TrialSpec.from_json(configuration)
    assert spec == TrialSpec.from_json(read_state(state)[0]["spec"])
    assert json.loads((tmp_path / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(tmp_path / "base")


def test_a_card_of_a_hub_model_that_was_never_retested(digits, tmp_path):
    state, _, _, facts, _ = digits
    spec = TrialSpec.from_json(read_state(state)[0]["spec"])
    facts = replace(facts, report_scores=[], task='a "b": c', license="mit", dataset="a/b")
    text = card(facts, spec, base_of("minilm", tmp_path), FORMATS["merged"], 'a"b')
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert (matter["license"], matter["datasets"]) == ("mit", ["a/b"])
    assert "model-index" not in matter
    assert "not measured" in text
    assert "folder = 'a\"b'" in text


HOSTILE = "1); import os; os.system('true') #"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training", {"steps": 6, "batch_size": 16, "max_length": HOSTILE}),
        ("training", {"steps": True, "batch_size": 16, "max_length": 32}),
        ("budget", "300k"),
        ("report_rows", [1]),
        ("task", {"a": 1}),
        ("command", None),
    ],
)
def test_facts_of_another_kind_are_refused(field, value):
    with pytest.raises(QuestionError, match=r"of a run is a (whole number|text); got") as error:
        replace(FACTS, **{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["text", "text_pair", "image"])
def test_no_text_of_a_run_becomes_code(kind, digits, tmp_path):
    """Names and paths of any kind: the card's code is the same, but for the literals it holds."""
    import ast

    state, _, _, facts, _ = digits
    spec = TrialSpec.from_json(read_state(state)[0]["spec"])
    nasty = "a\"'\\n```\n\U0001f600 {x} # \udcff <script>"
    facts = replace(facts, kind=kind, task=nasty, command=nasty)
    base = replace(base_of("minilm", tmp_path), name=nasty, code=repr(nasty))
    for form in FORMATS.values():
        text = card(facts, spec, base, form, nasty)
        blocks = re.findall(r"```python\n(.*?)```\n", text, re.DOTALL)
        assert len(blocks) == 2 + (kind == "text")  # and a pipeline
        trees = [ast.parse(block) for block in blocks]
        said = {
            node.value
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
        }
        assert nasty in said
        calls = {ast.unparse(n.func) for t in trees for n in ast.walk(t) if isinstance(n, ast.Call)}
        assert not any("system" in call for call in calls)
        assert "\n<script>" not in text


def test_a_format_of_a_plugin_needs_three_things(monkeypatch):
    monkeypatch.setitem(FORMATS._entries, "mine", Format(lambda *_: None, "peft", "load()"))
    assert lines_of("format")["mine"] == "for peft"
    assert lines_of("format")["native"].endswith(": the factors alone, the smallest")


def test_the_names_of_formats_are_read_from_their_table_alone(monkeypatch, tmp_path):
    assert declared.declared_formats() == tuple(FORMATS)
    (tmp_path / "export").mkdir()
    tables = 'OTHER: T = Table("other", {"a": 1})\nFORMATS: T = Table("format", {"b": 2})\n'
    (tmp_path / "export" / "formats.py").write_text(tables)
    monkeypatch.setattr(declared, "ROOM", tmp_path / "data")
    assert declared.declared_formats() == ("b",)


def test_a_card_asks_a_pipeline_for_all_labels_where_rows_have_several(digits, tmp_path):
    """transformers' default is the most likely one alone."""
    state, _, _, facts, _ = digits
    spec = TrialSpec.from_json(read_state(state)[0]["spec"])
    facts = replace(facts, kind="text", goal=Labels(("a", "b"), "f1_micro"), metric="f1_micro")
    text = card(facts, spec, base_of("minilm", tmp_path), FORMATS["peft"], "to")
    assert "tokenizer=tokenizer, truncation=True, top_k=None)" in text


def write_export(folder: Path, *names: str) -> None:
    with export_folder(folder) as part:
        for name in ("README.md", *names):
            (part / name).write_text(f"tags:\n- {TAG}\n{name}")


def test_an_export_replaces_one_of_its_own_kind(tmp_path):
    write_export(tmp_path / "to", "config.json")
    (tmp_path / "to" / "config.json").write_text("old")
    write_export(tmp_path / "to", "config.json", "new.json")
    assert (tmp_path / "to" / "config.json").read_text().endswith("config.json")
    with pytest.raises(QuestionError, match=r"holds new\.json, which is not of this format"):
        write_export(tmp_path / "to", "config.json")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "README.md",
        "config.json",
        "new.json",
        "to",
    ]


def test_an_export_goes_into_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_export(Path(), "config.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json"]


@pytest.mark.parametrize("foreign", ["notes.txt", "README.md"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, foreign):
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(QuestionError, match=f"is no export: it holds {foreign}"):
        write_export(tmp_path, "config.json")
    assert [path.name for path in tmp_path.iterdir()] == [foreign]
    assert (tmp_path / foreign).read_text() == "mine"


def test_a_file_and_what_goes_wrong_in_writing_are_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(QuestionError, match="it is a file"):
        write_export(tmp_path / "file")
    with pytest.raises(QuestionError, match=r"cannot export to .*file/below: Not a directory"):
        write_export(tmp_path / "file" / "below")

    def full(folder: Path) -> None:
        with export_folder(folder) as part:
            (part / "half").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(QuestionError, match="No space left on device"):
        full(tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("--data /home/anna/mails.csv --out '/mnt/o b/run 1'", "--data mails.csv --out 'run 1'"),
        ("--data ../secret/anna/run ~anna/x.csv", "--data run x.csv"),
        ("--warm-start=/a/b,/home/anna/c", "--warm-start=b,c"),
        ("--data '/home/o'\"'\"'brien/x.csv'", "--data x.csv"),
        ("--model file:///home/anna/m", "--model m"),
        ("--model org/model --budget 10k", "--model org/model --budget 10k"),
    ],
)
def test_a_pushed_card_shows_the_last_part_of_paths(typed, shown):
    assert _without_places(f"tenslora-search {typed}\ntenslora-search export /r/a") == (
        f"tenslora-search {shown}\ntenslora-search export a"
    )


def test_a_base_that_others_have_takes_no_other_name(tmp_path):
    for model in ("roberta-base", "digits-vit"):
        with pytest.raises(QuestionError, match=f"is {model}, which others have too"):
            base_of(model, tmp_path, "nobody/another-model")
