"""Every wrong input is one line on stderr and its exit code; no traceback, nothing on stdout, no
run folder left behind.
"""

import json

import pytest

BASE = {"--budget": "20k", "--task": "digits", "--executor": "inline"}

OPTIONS = [
    ({"--budget": "0"}, 2, "'0' is not a parameter count"),
    ({"--budget": "-5"}, 2, "'-5' is not a parameter count"),
    ({"--budget": "abc"}, 2, "write 300000, 300k or 1.2M"),
    ({"--budget": "1e3x"}, 2, "'1e3x' is not a parameter count"),
    ({"--budget": "300kk"}, 2, "'300kk' is not a parameter count"),
    ({"--budget": "1.5"}, 2, "'1.5' is not a parameter count of 1 or more"),
    ({"--budget": None}, 2, "needs --budget"),
    ({"--budget": "10"}, 3, "att_qkv_depth x cp 91"),
    ({"--budget": "10", "--count-head": ""}, 3, "the task head alone has 325 parameters"),
    ({"--task": "digit"}, 2, "Did you mean 'digits'"),
    ({"--task": None}, 2, "name a task"),
    ({"--model": "robeta-base"}, 2, "robeta-base"),
    ({"--model": "no such model"}, 2, "no such model"),
    ({"--model": "minilm"}, 2, "task digits is image"),
    ({"--sampler": "tpee"}, 2, "Did you mean 'tpe'"),
    ({"--pruner": "hyper"}, 2, "Did you mean 'hyperband'"),
    ({"--space": "defalt"}, 2, "Did you mean 'default'"),
    ({"--methods": "lora,sorra"}, 2, "no method named 'sorra'. Did you mean 'SoRA'"),
    ({"--methods": "lora", "--budget": "1k"}, 3, "method LoRA needs at least 1,536 parameters"),
    ({"--methods": "rac-lora", "--max-steps": "15"}, 2, "a chain of 16 links, more than the 15"),
    ({"--executor": "rai"}, 2, "Did you mean 'ray'"),
    ({"--objective": "frontier"}, 2, "Did you mean 'front'"),
    ({"--labels": "class"}, 2, "no goal named 'class'. Did you mean 'classes'"),
    (
        {"--labels": "numbers"},
        2,
        "--goal is for own data without --task; the goal of task digits is classes",
    ),
    ({"--trials": "0"}, 2, "--trials is a whole number of 1 or more; got 0"),
    ({"--trials": "many"}, 2, "a whole number is needed"),
    ({"--retest": "-1"}, 2, "--retest is a whole number of 0 or more; got -1"),
    ({"--max-steps": "0"}, 2, "--max-steps is a whole number of 1 or more; got 0"),
    ({"--batch-size": "0"}, 2, "--batch-size is a whole number of 1 or more; got 0"),
    ({"--fit-rows": "0"}, 2, "--fit-rows is a whole number of 1 or more; got 0"),
    ({"--seed": "5000000000"}, 2, "--seed is below 2**32"),
    ({"--pack": "0"}, 2, "--pack is auto or a whole number"),
    ({"--pack": "²"}, 2, "--pack is auto or a whole number"),
    ({"--time-limit": "soon"}, 2, "90s, 15m, 2h"),
    ({"--column": "label"}, 2, "ROLE=NAME"),
    ({"--data": "/nowhere/at/all"}, 2, "no such file or folder"),
    ({"--budgte": "3"}, 2, "--budget"),
]


def arguments(change: dict[str, str | None], out) -> list[str]:
    options = {**BASE, "--out": str(out), **change}
    return [
        part
        for name, value in options.items()
        if value is not None
        for part in (name, value)
        if part
    ]


@pytest.mark.parametrize(
    ("change", "code", "line"),
    OPTIONS,
    ids=[" ".join(map(str, sum(c.items(), ()))) for c, _, _ in OPTIONS],
)
def test_a_wrong_option(here, tmp_path, change, code, line):
    found, out, err = here(*arguments(change, tmp_path / "run"))
    assert found == code
    assert line in err
    assert err.startswith("tenslora-search: ")
    assert err.count("\n") == 1
    assert out == ""
    assert_nothing_asked(tmp_path / "run")


def assert_nothing_asked(folder):
    """No question stands in the folder, so the right one may be asked there."""
    assert not (folder / "run.json").exists()
    assert not (folder / "trials.jsonl").exists()


SPACES = {
    "learning_rat = 1e-3": "no key named 'learning_rat'. Did you mean 'learning_rate'",
    'construction = ["dept"]': "no construction named 'dept'. Did you mean 'depth'",
    'decomposition = "tuker"': "no decomposition named 'tuker'. Did you mean 'tucker'",
    "size = { low = 0.5, high = 2.0 }": "size is a number from 1e-09 to 1; got 2",
    "size = [": "cannot be read",
    'rule = "chian"': "no rule named 'chian'",
}


@pytest.mark.parametrize("text", list(SPACES))
def test_a_wrong_space(here, tmp_path, text):
    space = tmp_path / "mine.toml"
    space.write_text(text)
    code, out, err = here(*arguments({"--space": str(space)}, tmp_path / "run"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert SPACES[text] in err
    assert_nothing_asked(tmp_path / "run")


DATA = {
    "empty": ({"train.csv": ""}, "is empty"),
    "no rows": ({"train.csv": "text,label\n"}, "holds no rows"),
    "one class": ({"train.csv": "text,label\n" + "good film,1\n" * 20}, "one class only"),
    "no label": ({"train.csv": "text,stars\ngood film,1\n"}, "stars"),
    "other labels": (
        {"train.csv": "text,label\n" + "good,a\nbad,b\n" * 20, "test.csv": "text,label\nfine,c\n"},
        "labels differ between splits",
    ),
    "no data files": ({"readme.md": "nothing"}, "holds no data files"),
    "no train file": ({"test.csv": "text,label\na,b\n"}, "train"),
    "broken parquet": ({"train.parquet": "PAR1 and no more"}, "cannot read"),
    "broken jsonl": ({"train.jsonl": '{"text": "a", "label": 1}\n{"text":\n'}, "line 2 is no JSON"),
    "no text": (
        {"train.jsonl": '{"text": "a", "label": 1}\n{"text": 5, "label": 0}\n' * 20},
        "row 2 of train of",
    ),
    "no image": (
        {"train.csv": "image,label\nno.png,a\nnor.png,b\n"},
        "names an image that cannot be read",
    ),
    "text for a model of images": (
        {"train.csv": "text,label\n" + "good,a\nbad,b\n" * 20},
        "reads image; for text try",
    ),
}


@pytest.mark.parametrize("name", list(DATA))
def test_wrong_data(here, tmp_path, name):
    files, line = DATA[name]
    folder = tmp_path / "data"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text)
    change = {"--task": None, "--data": str(folder), "--model": "digits-vit"}
    code, out, err = here(*arguments(change, tmp_path / "run"))
    assert code == 2
    assert line in err
    assert err.count("\n") == 1
    assert out == ""
    assert_nothing_asked(tmp_path / "run")


ROBERTA = ["count", "--model", "roberta-base"]
COMMANDS = [
    (
        [*ROBERTA, "--construction", "qkv", "--decomposition", "tuker", "--ranks", "1,1,1"],
        "Did you mean 'tucker'",
    ),
    (
        [*ROBERTA, "--construction", "qkv", "--decomposition", "tucker", "--ranks", "1,1"],
        "got 2 ranks",
    ),
    (
        [*ROBERTA, "--construction", "qkv", "--decomposition", "cp", "--ranks", "0"],
        "1 or more; got 0",
    ),
    ([*ROBERTA, "--construction", "none", "--decomposition", "cp", "--ranks", "769"], "cap 768"),
    (
        [*ROBERTA, "--construction", "none", "--decomposition", "cp", "--ranks", "a"],
        "whole numbers",
    ),
    (
        [
            "count",
            "--hidden",
            "8",
            "--construction",
            "none",
            "--decomposition",
            "cp",
            "--ranks",
            "1",
        ],
        "--heads and --layers",
    ),
    (
        [
            "count",
            *"--hidden 9 --heads 2 --layers 1 --construction none --decomposition cp --ranks "
            "1".split(),
        ],
        "divide",
    ),
    (["list", "task"], "Did you mean 'tasks'"),
    (["report", "/nowhere"], "no run folder"),
    (["export", "/nowhere"], "no run folder"),
]


@pytest.mark.parametrize(
    ("words", "line"), COMMANDS, ids=[" ".join(words[-5:]) for words, _ in COMMANDS]
)
def test_a_wrong_command(here, words, line):
    code, out, err = here(*words)
    assert code == 2
    assert line in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["count", *"--construction none --decomposition cp --ranks 1".split()],
        ["--budget", "20k", "--task", "sst2", "--dry-run"],
    ],
    ids=["count", "dry run"],
)
def test_a_model_of_no_family_is_refused_by_whoever_asks(here, tmp_path, words):
    """ALBERT's layers share their weights: a search refuses it, so counting must too."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert", **sizes}))
    code, out, err = here(*words, "--model", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no patterns for a model of type 'albert'. Known: bert" in err
    assert "ask_tell(geometry=geometry_of(model, targets=...))" in err


def test_nothing_at_all_is_answered_with_the_help(here):
    code, out, err = here()
    assert (code, err) == (2, "")
    assert "Usage" in out
