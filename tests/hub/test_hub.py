"""Tasks and models from a hub: a small one on this machine with the ids of the real one, tiny data
and tiny models.

What is loaded is loaded in a process of its own, since the libraries read the hub's address when
they are imported.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import load_task
from tenslora_search.hub import hub
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

ROOT = Path(__file__).parents[2]
CHILD = """
import json, sys
from tenslora_search.data.task import load_task
from tenslora_search.backbone.load import load_backbone
for task, model in json.loads(sys.argv[1]):
    try:
        data = load_task(task, model=model)
        backbone = load_backbone(model, data.goal).model
        rows = [len(split) for split in (data.fit, data.select, data.report)]
        about = {"rows": rows, "labels": data.goal.names, "goal": data.goal.name,
                  "digest": data.digest,
                 "inputs": {name: list(one.shape[1:]) for name, one in data.fit.inputs.items()},
                 "head": backbone.config.num_labels, "model": type(backbone).__name__}
    except Exception as error:
        about = {"error": type(error).__name__, "line": str(error)}
    print(json.dumps(about))
"""
ROBERTA, VIT, GPT2 = "roberta-base", "google/vit-base-patch16-224", "openai-community/gpt2"
TEXT = ("sst2", "mrpc", "stsb", "mnli", "trec")
LOADED = [*((task, ROBERTA) for task in TEXT), ("ag_news", GPT2), ("eurosat", VIT)]
WRITTEN = [(task, GPT2) for task in ("wikitext2", "gsm8k", "arc_easy", "alpaca")]
WRONG = [
    ("sst2", "nobody/nothing"),
    ("sst2", "somebody/gated"),
    ("cifar10", VIT),
    ("rte", ROBERTA),
    ("sst2", "pickles/only"),
    ("sst2", "code/of-its-own"),
]


class Handler(BaseHTTPRequestHandler):
    """The part of the hub's interface that `datasets` and `transformers` use, over a folder of
    repositories.
    """

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        path = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        if not path:
            return self.answer(200)
        api = path.pop(0) if path[0] == "api" else ""
        kind = path.pop(0) if path[0] in ("models", "datasets") else "models"
        repo = self.root / kind / "/".join(path[:2])
        if repo.name == "gated":
            return self.answer(403, X_Error_Code="GatedRepo")
        if not repo.is_dir():
            return self.answer(401, X_Error_Code="RepoNotFound")
        return self.tell(repo, path[2:]) if api else self.give(repo, Path(*path[4:]))

    do_HEAD = do_POST = do_GET

    def tell(self, repo: Path, words: list[str]) -> None:
        """What a repository holds: revision/REV, tree/REV/FOLDER, paths-info/REV."""
        every = sorted(repo.rglob("*"))
        if words[:1] == ["tree"]:
            top = repo / "/".join(words[2:])
            if not top.is_dir():
                return self.answer(404, X_Error_Code="EntryNotFound")
            deep = "recursive=true" in self.path
            return self.json(
                [
                    _entry(repo, path)
                    for path in every
                    if top in (path.parents if deep else [path.parent])
                ]
            )
        if words[:1] == ["paths-info"]:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
            return self.json(
                [_entry(repo, path) for path in every if path.relative_to(repo).as_posix() in asked]
            )
        files = [
            {"rfilename": path.relative_to(repo).as_posix()} for path in every if path.is_file()
        ]
        name = "/".join(repo.parts[-2:])
        return self.json(
            {"id": name, "sha": _sha(repo), "private": False, "tags": [], "siblings": files}
        )

    def give(self, repo: Path, name: Path) -> None:
        """A file's bytes, or the part asked for."""
        if not (repo / name).is_file():
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=_sha(repo))
        content = (repo / name).read_bytes()
        about = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X_Repo_Commit": _sha(repo),
            "Accept_Ranges": "bytes",
        }
        wanted = self.headers.get("Range")
        if wanted is None or self.command == "HEAD":
            return self.answer(200, content, **about)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last or len(content)) + 1]
        about["Content_Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self.answer(206, part, **about)

    def json(self, content: object) -> None:
        self.answer(200, json.dumps(content).encode(), Content_Type="application/json")

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _sha(repo: Path) -> str:
    return hashlib.sha1(repo.name.encode()).hexdigest()


def _entry(repo: Path, path: Path) -> dict[str, object]:
    about = {
        "path": path.relative_to(repo).as_posix(),
        "oid": hashlib.sha1(str(path).encode()).hexdigest(),
    }
    return (
        {"type": "file", "size": path.stat().st_size, **about}
        if path.is_file()
        else {"type": "directory", **about}
    )


@pytest.fixture(scope="module")
def repositories(tmp_path_factory, tiny_gpt, tiny_vit, tiny_roberta) -> Path:
    """Data sets in the layouts they have on the hub, and models under the ids of well-known
    ones."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    root, draw = tmp_path_factory.mktemp("hub"), random.Random(0)
    string, number = Value("string"), Value("float32")

    def save(repo: str, file: str, features: dict, n_rows: int = 40, **columns) -> None:
        path = root / "datasets" / repo / file
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: [make(row) for row in range(n_rows)] for name, make in columns.items()}
        Dataset.from_dict(rows, features=Features(features)).to_parquet(path)

    def text(_: int) -> str:
        return " ".join(
            draw.choices("the film was very good fine bad poor and not so nice".split(), k=7)
        )

    def colour(_: int) -> object:
        from PIL import Image as Pillow

        return Pillow.new("RGB", (20, 16), tuple(draw.choices(range(256), k=3)))

    def classes(*names: str) -> tuple[ClassLabel, dict]:
        return ClassLabel(names=list(names)), {"label": lambda row: row % len(names)}

    glue = "nyu-mll/glue"
    for split in ("train", "validation", "test"):
        file = f"{{}}/{split}-00000-of-00001.parquet"
        none = {"label": lambda _: -1} if split == "test" else {}
        label, of = classes("negative", "positive")
        save(
            glue,
            file.format("sst2"),
            {"sentence": string, "label": label},
            sentence=text,
            **{**of, **none},
        )
        label, of = classes("not_equivalent", "equivalent")
        pair = {"sentence1": text, "sentence2": text}
        features = {"sentence1": string, "sentence2": string}
        save(glue, file.format("mrpc"), {**features, "label": label}, **pair, **{**of, **none})
        scores = {"label": lambda row: row % 26 / 5} | none
        save(glue, file.format("stsb"), {**features, "label": number}, **pair, **scores)
    label, of = classes("entailment", "neutral", "contradiction")
    for split in ("train", "validation_matched", "validation_mismatched"):
        pair = {"premise": text, "hypothesis": text}
        features = {"premise": string, "hypothesis": string, "label": label}
        save(glue, f"mnli/{split}-00000-of-00001.parquet", features, **pair, **of)
    usual, matched = (
        ("train", "validation", "test"),
        ("train", "validation_matched", "validation_mismatched"),
    )
    _card(root / "datasets" / glue, sst2=usual, mrpc=usual, stsb=usual, mnli=matched)
    for split in ("train", "test"):
        coarse = {"coarse_label": lambda row: row % 6, "fine_label": lambda row: row % 50}
        kinds = {
            "coarse_label": ClassLabel(names=["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]),
            "fine_label": Value("int64"),
        }
        save(
            "CogComp/trec",
            f"default/{split}/0000.parquet",
            {"text": string, **kinds},
            text=text,
            **coarse,
        )
        label, of = classes("World", "Sports", "Business", "Sci/Tech")
        news = f"data/{split}-00000-of-00001.parquet"
        save("fancyzhx/ag_news", news, {"text": string, "label": label}, text=text, **of)
        label, of = classes("Annual Crop", "Forest", "River")
        save("blanchon/EuroSAT_RGB", news, {"image": Image(), "label": label}, image=colour, **of)

    _save_written(save, text, root / "datasets")
    models = root / "models"
    for name, folder in (
        ("FacebookAI/roberta-base", tiny_roberta),
        (VIT, tiny_vit),
        (GPT2, tiny_gpt),
    ):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).symlink_to(folder)
    for name in ("pickles/only", "code/of-its-own"):
        (models / name).mkdir(parents=True)
    for file in Path(tiny_roberta).iterdir():
        if file.name != "model.safetensors":
            (models / "pickles/only" / file.name).write_bytes(file.read_bytes())
    (models / "pickles/only/pytorch_model.bin").write_bytes(b"not to be opened")
    code = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}
    (models / "code/of-its-own/config.json").write_text(json.dumps(code))
    (models / "code/of-its-own/code.py").write_text("raise SystemExit('ran')")
    return root


def _save_written(save, text, root: Path) -> None:
    """Data of which text is learnt."""
    from datasets import List, Value

    string = Value("string")
    for split in ("train", "test"):
        file = f"{{}}/{split}-00000-of-00001.parquet"
        wiki = file.format("wikitext-2-raw-v1")
        save("Salesforce/wikitext", wiki, {"text": string}, text=text)
        pair = {"question": string, "answer": string}
        save("openai/gsm8k", file.format("main"), pair, question=text, answer=text)
        letters = {"text": List(string), "label": List(string)}
        save(
            "allenai/ai2_arc", file.format("ARC-Easy"),
            {"question": string, "choices": letters, "answerKey": string}, question=text,
            choices=lambda row: {"text": ["good", "bad film"], "label": ["A", "B"]},
            answerKey=lambda row: "AB"[row % 2],
        )  # fmt: skip
    splits = ("train", "test")
    _card(root / "Salesforce/wikitext", **{"wikitext-2-raw-v1": splits})
    _card(root / "openai/gsm8k", main=splits)
    _card(root / "allenai/ai2_arc", **{"ARC-Easy": splits})
    own = {"instruction": text, "input": lambda row: "film" * (row % 2), "output": text}
    save("tatsu-lab/alpaca", "data/train-00000-of-00001.parquet", dict.fromkeys(own, string), **own)


def _card(repo: Path, **configs: tuple[str, ...]) -> None:
    """README.md whose head says which files are whose."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [f"  - {{split: {split}, path: '{config}/{split}-*'}}" for split in splits]
    (repo / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Loads (task, model) pairs from a hub at an address in a process of its own; what is
    downloaded stays between calls.
    """
    home = tmp_path_factory.mktemp("home")

    def run(address: str, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], dict]:
        own = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "TENSLORA_CACHE": str(home),
            "PYTHONPATH": str(ROOT),
        }
        cleared = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        command = [sys.executable, "-c", CHILD, json.dumps(pairs)]
        done = subprocess.run(
            command, env=cleared | own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(zip(pairs, map(json.loads, done.stdout.splitlines()), strict=True))

    return run


@pytest.fixture(scope="module")
def answers(repositories, ask) -> Iterator[tuple[dict, str]]:
    """What came of LOADED and WRONG; the hub is gone thereafter."""
    handler = type("Here", (Handler,), {"root": repositories})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        found = ask(address, LOADED + WRITTEN + WRONG)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return found, address


@pytest.mark.parametrize("pair", LOADED, ids=" ".join)
def test_a_task_and_a_model_from_the_hub(answers, pair):
    found, task = answers[0][pair], TASKS[pair[0]]
    assert "error" not in found, found
    fit, select, report = found["rows"]
    assert fit + select == report == 40
    assert fit > select > 0
    assert found["goal"] == task.goal
    assert (found["goal"] == "numbers") == (not found["labels"])
    assert found["head"] == max(1, len(found["labels"]))
    assert set(found["inputs"]) == (
        {"pixel_values"} if task.kind == "image" else {"input_ids", "attention_mask"}
    )


@pytest.mark.parametrize("pair", WRITTEN, ids=" ".join)
def test_a_task_of_text_from_the_hub(answers, pair):
    found, task = answers[0][pair], TASKS[pair[0]]
    assert "error" not in found, found
    assert (found["goal"], found["model"]) == (task.goal, "GPT2LMHeadModel")
    assert set(found["inputs"]) == {"input_ids", "targets"}
    assert len(found["inputs"]["targets"]) == (2 if task.goal == "choice" else 1)
    fit, select, report = found["rows"]
    assert fit > select > 0
    assert (fit + select == report == 40) == (pair[0] in ("gsm8k", "arc_easy"))


def test_classes_have_the_names_of_the_hub(answers):
    assert answers[0]["sst2", ROBERTA]["labels"] == ["negative", "positive"]
    assert answers[0]["mnli", ROBERTA]["labels"] == ["entailment", "neutral", "contradiction"]
    assert answers[0]["trec", ROBERTA]["labels"] == ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]
    assert answers[0]["eurosat", VIT]["labels"] == ["Annual Crop", "Forest", "River"]


def test_a_pair_is_two_sentences_and_a_decoder_classifies(answers):
    assert answers[0]["sst2", ROBERTA]["inputs"]["input_ids"] == [
        9
    ]  # 7 words within [CLS] and [SEP]
    assert answers[0]["mrpc", ROBERTA]["inputs"]["input_ids"] == [17]
    assert answers[0]["ag_news", GPT2]["model"] == "GPT2ForSequenceClassification"


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (WRONG[0], "no model 'nobody/nothing' on {}; no local folder has that name."),
        (
            WRONG[1],
            "model 'somebody/gated' on {} needs an accepted licence and a token (HF_TOKEN).",
        ),
        (WRONG[2], "no data set 'uoft-cs/cifar10' on {}; give local files with --data."),
        (WRONG[3], "cannot load data set 'nyu-mll/glue' from {}: BuilderConfig 'rte' not found."),
        (WRONG[4], "model 'pickles/only' has no safetensors weights"),
        (WRONG[5], "model 'code/of-its-own' needs code that comes with it, which is never run"),
    ],
    ids=[" ".join(pair) for pair in WRONG],
)
def test_what_the_hub_does_not_have_is_one_line(answers, pair, line):
    found, address = answers
    assert found[pair]["error"] == "QuestionError"
    assert line.format(address) in found[pair]["line"]
    assert "\n" not in found[pair]["line"]


def test_what_is_downloaded_serves_when_the_hub_is_gone(answers, ask):
    before, address = answers
    now = ask(address, [("sst2", ROBERTA), ("qnli", ROBERTA), ("sst2", "nobody/nothing")])
    assert now["sst2", ROBERTA] == before["sst2", ROBERTA]
    for pair, what in (
        (("qnli", ROBERTA), "data set 'nyu-mll/glue'"),
        (("sst2", "nobody/nothing"), "model 'nobody/nothing'"),
    ):
        line = now[pair]["line"]
        assert line.startswith(
            f"{what} is not on this machine and the hub cannot be reached (no answer from "
            f"{address})."
        )
        assert all(word in line for word in ("--data", "--model", "digits", "docstrings"))


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub's address at which nothing listens."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.hub_reachable.cache_clear()
    yield
    hub.hub_reachable.cache_clear()


def test_no_hub_at_all(no_hub, tiny_bert):
    with pytest.raises(
        QuestionError,
        match=r"no answer from http://127.0.0.1:9.*--data.*--model.*docstrings, docstrings_lm\.$",
    ):
        load_task("cola", model=tiny_bert)
    with pytest.raises(QuestionError, match="model 'nobody/else-here' is not on this machine"):
        load_backbone("nobody/else-here", Classes(("0", "1")))


def test_the_offline_switch_is_named_and_stays_as_it_was(no_hub, monkeypatch):
    from huggingface_hub import constants

    def ask() -> None:
        with hub.hub_calls("model 'x'"):
            raise OSError(f"offline: {constants.HF_HUB_OFFLINE}")

    with pytest.raises(QuestionError, match="no answer") as error:
        ask()
    assert str(error.value.__cause__) == "offline: True"
    assert not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(QuestionError, match="HF_HUB_OFFLINE is set"):
        ask()
    assert constants.HF_HUB_OFFLINE


def test_one_line():
    assert hub.one_line(ValueError("\n  first of all  \nand more")) == "first of all"
    assert hub.one_line(KeyError()) == "KeyError"
    assert len(hub.one_line(ValueError("x" * 1000))) == 240
