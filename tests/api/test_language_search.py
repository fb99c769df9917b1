"""A search over a language model: chats, by the command line, to an adapter that plain peft and
transformers load.
"""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tenslora_search import load_run, search
from tenslora_search.api.results import Run
from tenslora_search.api.search import _check_length
from tenslora_search.backbone.load import load_backbone
from tenslora_search.cli import main
from tenslora_search.data.processors import load_processor
from tenslora_search.data.task import load_task
from tenslora_search.export.trained import LoadedOnce
from tenslora_search.runs.question import Question
from tenslora_search.spec.table import QuestionError


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    """60 chats of a question and an answer that follows from it."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    lines = []
    for number in range(60):
        noun = str(generator.choice(["film", "plot", "cast", "scene"]))
        word = str(generator.choice(["good", "bad", "dull"]))
        told = f"{'very ' * (number % 4)}{noun} {word}"
        said = f"the {noun} was {word}"
        turns = [{"role": "user", "content": told}, {"role": "assistant", "content": said}]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def run(chats, tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    space = folder.parent / "space.toml"
    space.write_text('construction = ["none", "qkv_depth"]\ndecomposition = "cp"\nsites = "all"\n')
    with pytest.MonkeyPatch.context() as patch:
        words = (
            f"tenslora-search --budget 4k --data {chats} --model {tiny_llama} --space {space} "
            f"--trials 3 --max-steps 30 --batch-size 8 --max-length 32 --retest 1 --quiet "
            f"--executor inline --out {folder}"
        )
        patch.setattr("sys.argv", words.split())
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code in (0, None)
    return load_run(folder)


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert"])
def test_texts_longer_than_the_model_are_told(request, model, chats, reviews, tmp_path):
    """A length that nobody typed, 128, is cut where the model ends, as it has always been."""
    folder = request.getfixturevalue(model)
    data = chats if model == "tiny_llama" else tmp_path / "reviews.csv"
    reviews.to_csv(tmp_path / "reviews.csv", index=False)
    asked = {"data": data, "model": folder, "budget": "4k", "executor": "inline"}
    most = load_processor(folder).model_max_length
    assert most < 128
    with pytest.raises(QuestionError, match=rf"--max-length 999 is more than the {most} tokens"):
        search(**asked, max_length=999, out=tmp_path / "run")
    question = Question.of(**{**asked, "executor": None})
    _check_length(question)


def test_chats_are_found_and_learnt(run):
    assert (run.file.goal, run.file.metric, run.file.head_params) == ("next_token", "minus_loss", 0)
    assert run.file.columns == {"messages": "messages"}
    trials = run.trials()
    assert set(trials["state"]) <= {"complete", "paused"}
    assert (run.folder / "report.html").is_file()
    best = trials[trials["state"] == "complete"]["report_score"].max()
    question = run.file.question
    data = load_task(data=question.data, model=question.model, max_length=question.max_length)
    model = load_backbone(question.model, data.goal).model
    batch = {**data.report.inputs, "labels": data.report.labels}
    with torch.no_grad():
        untrained = float(data.goal.losses(model, batch, 1))
    assert -untrained + 0.1 < best < 0


@pytest.mark.parametrize(
    ("format", "base_name"), [("peft", "org/tiny"), ("merged", None), ("native", "org/tiny")]
)
def test_what_is_pushed_names_no_path_of_this_machine(
    run, format, base_name, tmp_path, monkeypatch, tiny_llama
):
    pushed = []
    monkeypatch.setattr("tenslora_search.hub.push.push", lambda *about: pushed.append(about))
    to = tmp_path / format
    assert run.export("best", to, format, push="me/it", base_name=base_name) == to
    assert pushed == [(to, "me/it")]
    for file in (path for path in to.rglob("*") if path.is_file()):
        for place in (tiny_llama, str(tmp_path), str(run.folder.parent)):
            assert place.encode() not in file.read_bytes(), file
    if base_name:
        card = (to / "README.md").read_text()
        assert f"base_model: {base_name}" in card
        assert 'snapshot_download("me/it")'.replace('"', "'") in card
    if format == "peft":
        config = json.loads((to / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == base_name


def test_adapters_of_one_model_that_is_loaded_once_are_those_of_a_model_each(
    run, tmp_path, monkeypatch
):
    complete = [n for n, state in run.trials()[["number", "state"]].values if state == "complete"]
    loads = []
    monkeypatch.setattr(
        "tenslora_search.export.trained.load_backbone",
        lambda *asked: loads.append(asked) or load_backbone(*asked),
    )
    for folder, writer in (("once", Run(run.folder, load=LoadedOnce())), ("each", run)):
        for number in complete:
            for format in ("peft", "native"):
                writer.export(number, tmp_path / folder / f"{number}-{format}", format)
    files = sorted((tmp_path / "once").rglob("*.safetensors"))
    assert len(files) == 2 * len(complete) > 2
    for file in files:
        other = tmp_path / "each" / file.relative_to(tmp_path / "once")
        found, expected = load_file(file), load_file(other)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(loads) == 1 + 2 * len(complete)


def test_an_adapter_over_a_folder_is_not_pushed_without_its_name(run, tmp_path):
    with pytest.raises(QuestionError, match=r"folder of this machine .* --base-name, or .* merged"):
        run.export("best", tmp_path / "it", push="me/it")
    with pytest.raises(QuestionError, match=r"--base-name takes an id on the hub, .*; got '/a'"):
        run.export("best", tmp_path / "it", base_name="/a")
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("format", ["peft", "native", "merged"])
def test_an_export_gives_the_loss_of_its_card(run, format, tmp_path):
    to = run.export("best", tmp_path / format, format)
    readme = (to / "README.md").read_text(encoding="utf-8")
    loading, predicting = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    made: dict = {}
    exec(loading, made)
    model = made["model"]
    question = run.file.question
    data = load_task(data=question.data, model=question.model, max_length=question.max_length)
    inputs = data.report.inputs
    labels = torch.full_like(inputs["targets"], -100)
    labels[:, 1:] = inputs["targets"][:, :-1]
    with torch.no_grad():
        loss = float(model(input_ids=inputs["input_ids"], labels=labels).loss)
    said = float(re.search(r"these weights \| (-[\d.]+) \|", readme)[1])
    assert said == pytest.approx(-loss, abs=1e-4)
    perplexity = float(re.search(r"perplexity on report, these weights \| ([\d.]+) \|", readme)[1])
    assert perplexity == pytest.approx(np.exp(loss), abs=1e-2)
    assert "task head" not in readme
    exec(predicting, made)
    assert isinstance(made["answer"], str)
    if format == "peft":
        config = json.loads((to / "adapter_config.json").read_text())
        assert config["task_type"] == "CAUSAL_LM"
