"""The command line: counts, lists and dry runs without torch; one small search, its report and its
exports.
"""

import io
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tenslora_search import answers, cli
from tenslora_search.api.results import load_run
from tenslora_search.listing import KINDS
from tenslora_search.runs.config import load_config
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile

ROOT = Path(__file__).parents[1]
SEARCHES = re.findall(
    r"tenslora-search (--budget [^#`\n]+)", (ROOT / "README.md").read_text(encoding="utf-8")
)
"""Of the README."""
COUNT = "count --construction qkv_depth --decomposition tucker --ranks 59,59,3,12".split()
SMALL = (
    "--budget 6k --task digits --trials 6 --max-steps 18 --batch-size 16 --retest 1 --no-cut "
    "--executor inline"
).split()


@pytest.fixture
def command(monkeypatch, capsys, tmp_path_factory):
    """Runs the command in this process: exit code, stdout, stderr."""
    if "TENSLORA_CACHE" not in os.environ:
        monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tenslora-search", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_the_help_says_what_is_usual(command, monkeypatch):
    """A default in brackets is text: rich would take [tpe] for markup, and leave it out."""
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = command("--help")
    for usual in ("[tpe]", "[front]", "[by task]", "[warning]", "[runs/TASK-BUDGET]"):
        assert usual in out


def test_count(command):
    assert command(*COUNT, "--model", "roberta-base") == (0, "216093\n", "")
    assert command(*COUNT, *"--hidden 768 --heads 12 --layers 12".split()) == (0, "216093\n", "")


def test_count_of_a_method_by_its_name(command):
    said = ["--method", "sora", "--ranks", "8", "--model", "roberta-base"]
    assert command("count", *said) == (0, "442656\n", "")
    for more, why in (
        (["--construction", "qkv"], "takes --method, or"),
        ([], "no method named 'so'"),
    ):
        wrong = ["--method", "sora" if more else "so", "--ranks", "8", "--model", "roberta-base"]
        code, _, err = command("count", *wrong, *more)
        assert (code, why in err) == (2, True)


MLP = "count --construction qkv --decomposition cp --ranks 2 --projections".split()
SHAPE = "--hidden 384 --heads 12 --layers 6".split()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["up,down", "--model", "minilm"], 0, "23064"),  # 6 x 2 x (384 + 1536 + 2)
        (["up, gate, down", "--model", "Qwen3-0.6B"], 0, "229544"),  # 28 x 2 x (1024 + 3072 + 3)
        (["up,gate,down", *SHAPE, "--inner", "1536"], 0, "23076"),
        (["up,gate,down", *SHAPE], 2, "up is a map of the MLP, whose width is not known; give inn"),
        (["up,gate", "--model", "roberta-base"], 2, "no projection named 'gate' in roberta"),
    ],
)
def test_count_of_the_maps_of_the_mlp(command, arguments, code, text):
    found, out, err = command(*MLP, *arguments)
    assert found == code
    assert text in (out if code == 0 else err)


def test_the_list_shows_knobs(command):
    assert "[ratio: 0.125 to 8, 3 unless set]" in command("list", "allocators")[1]
    assert "[amplitude: 1e-06 to 0.001, 5e-05 unless set]" in command("list", "maps")[1]


def test_the_parts_of_a_count_add_up(command):
    code, out, _ = command(*COUNT, "--model", "roberta-base", "--json")
    parts = json.loads(out)
    assert code == 0
    assert parts["n_params"] == sum(parts["factors"].values()) == 216_093
    assert list(parts["ranks"].values()) == [59, 59, 3, 12]


@pytest.mark.parametrize("kind", list(KINDS))
def test_list_has_a_line_an_entry(command, kind):
    code, out, err = command("list", kind)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in lines] == list(KINDS[kind]())
    assert all(line.partition("  ")[2].strip() for line in lines)


def test_dry_run_tells_the_space_in_numbers(command):
    code, out, _ = command("--budget", "6k", "--task", "digits", "--dry-run", "--json")
    rows = json.loads(out)
    assert code == 0
    assert all(
        0 < row["smallest"] <= row["largest"] <= 6_000 and row["feasible"] > 0 for row in rows
    )
    assert {"construction": "none", "decomposition": "cp"}.items() <= rows[0].items()


def test_dry_run_over_methods_has_a_row_a_method(command):
    said = ["--budget", "6k", "--task", "digits", "--dry-run", "--methods"]
    code, out, _ = command(*said, "lora,prilora ramp,sora", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["method"] for row in rows] == ["LoRA", "PRILoRA ramp", "SoRA"]
    assert [row["smallest"] for row in rows] == [1_536, 1_536, 1_548]
    assert "method        construction" in command(*said, "lora,prilora ramp")[1]
    assert command(*said, "lora,nope")[0] == 2
    assert command("--budget", "1k", *said[2:], "lora")[0] == 3


@pytest.mark.parametrize(
    ("option", "known"),
    [("--sampler", "tpe, random"), ("--pruner", "hyperband, successive_halving")],
)
def test_dry_run_knows_wrong_names(command, option, known):
    code, out, err = command("--budget", "6k", "--task", "digits", "--dry-run", option, "nobody")
    assert (code, out) == (2, "")
    assert known in err


def test_what_is_about_a_retest_that_is_left_out_is_told(command, caplog):
    asked = ["--budget", "6k", "--task", "digits", "--dry-run", "--retest-methods"]
    assert command(*asked)[0] == command(*asked, "--retest", "0")[0] == 0
    (line,) = caplog.messages
    assert line.startswith("--retest-methods asks nothing of this search")
    assert "--retest 2" in line


@pytest.mark.parametrize("words", sorted(set(SEARCHES)))
def test_the_searches_of_the_readme_are_right_questions(command, tmp_path, monkeypatch, words):
    (tmp_path / "reviews.csv").write_text("text,label\ndull,bad\ngood,good\n")
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.csv").write_text("sentence,label\ndull,0\ngood,1\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words.split(), "--dry-run")
    assert (code, err) == (0, "")
    assert "trials, scored after" in out


def test_a_dry_run_subtracts_the_head_where_it_is_known(command, tmp_path, monkeypatch):
    asked = ["--budget", "1k", "--task", "digits", "--dry-run"]
    code, out, err = command(*asked, "--count-head")
    assert (code, err) == (0, "")
    assert "at most 675 parameters beside the 325 of the task head" in out
    rows = json.loads(command(*asked, "--count-head", "--json")[1])
    assert rows == json.loads(command("--budget", "675", *asked[2:], "--json")[1])
    for budget, line in {
        "300": "the task head alone has 325 parameters",
        "400": "nothing fits 75 parameters",
    }.items():
        code, out, err = command("--budget", budget, *asked[2:], "--count-head")
        assert (code, out) == (3, "")
        assert line in err
    (tmp_path / "mine.csv").write_text("text,label\ndull,bad\ngood,good\n")
    mine = [
        "--budget",
        "50k",
        "--data",
        str(tmp_path / "mine.csv"),
        "--model",
        "minilm",
        "--dry-run",
    ]
    assert "not subtracted" in command(*mine, "--count-head")[2]
    assert command(*mine)[2] == ""


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--executor", "rai", "Did you mean 'ray'"),
        ("--pack", "many", "--pack is auto or a whole number"),
        ("--pack", "0", "--pack is auto or a whole number"),
        ("--time-limit", "soon", "is no time limit"),
        ("--gpus-per-worker", "1.5", "--gpus-per-worker is 0, a share"),
    ],
)
def test_a_dry_run_checks_what_a_search_checks(command, option, value, line):
    code, out, err = command("--budget", "6k", "--task", "digits", "--dry-run", option, value)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("--log-level loud", "--log-level is debug, info, warning, error; got 'loud'"),
        ("--column text=nope", "no column 'nope' for text; columns of task digits: image, label"),
        ("--group nope", "no column 'nope' for --group"),
        ("--track nope", "no tracker named 'nope'"),
        ("--out {run} --seed 1", "{run} holds another search"),
        ("--out /etc", "/etc is no run folder"),
        ("--trials x", "Invalid value for '--trials': a whole number is needed; got 'x'"),
    ],
)
def test_a_dry_run_checks_what_does_not_change_its_numbers(command, run_file_of, said, line):
    run = run_file_of(budget=6_000, task="digits")
    code, out, err = command(*SMALL[:4], "--dry-run", *said.format(run=run).split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line.format(run=run) in err


@pytest.fixture
def run_file_of(tmp_path):
    """A folder that holds a search, of which nothing is trained yet."""

    def made(**asked):
        question = Question.of(**asked)
        RunFile(
            question=question, budget=question.budget, head_params=0, task="digits",
            model="digits-vit", metric="accuracy", labels=(), goal="classes",
            geometry=question.geometry(), rungs=question.rungs, versions={}, data_digest=None,
            command=None,
        ).write(tmp_path)  # fmt: skip
        return tmp_path

    return made


def test_options_come_from_the_environment_alone_and_errors_say_so(command, monkeypatch, tmp_path):
    for name, value in {"BUDGET": "6k", "TASK": "digits", "DRY_RUN": "1", "JSON": "1"}.items():
        monkeypatch.setenv(f"TENSLORA_{name}", value)
    code, out, _ = command()
    assert (code, json.loads(out)[0]["method"]) == (0, "")
    for name, value, line in (
        ("TRIALS", "x", "a whole number is needed; got 'x'"),
        ("TRIALS", "0", "--trials is a whole number of 1 or more; got 0"),
        ("SAMPLER", "nope", "no sampler named 'nope'"),
        ("FORCE", "perhaps", "'--force'"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"TENSLORA_{name}", value)
            code, out, err = command()
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert line in err
        assert f"is from the environment, TENSLORA_{name}='{value}'." in err
    config = tmp_path / "search.toml"
    config.write_text("trials = 0\n")
    assert f"--trials is from --config {config}." in command("--config", str(config))[2]
    assert "--trials is from" not in command("--config", str(config), "--trials", "-1")[2]
    with (
        monkeypatch.context() as patch
    ):  # a file that says nothing of a plugin is not blamed for it
        patch.setenv("TENSLORA_EXECUTOR", "foo")
        config.write_text("trials = 1\n")
        err = command("--config", str(config))[2]
    assert err.endswith("--executor is from the environment, TENSLORA_EXECUTOR='foo'.\n")
    assert str(config) not in err
    config.write_text('trials = "x"\n')
    assert f"{config}: trials is a whole number; got 'x'." in command("--config", str(config))[2]


def test_a_pipe_is_no_data_file(command, tmp_path):
    os.mkfifo(tmp_path / "rows.csv")
    asked = ("--budget", "6k", "--model", "minilm", "--dry-run")
    code, _, err = command(*asked, "--data", str(tmp_path / "rows.csv"))
    assert (code, "is a pipe, which is read once" in err) == (2, True)


def test_ctrl_c_while_the_command_is_imported():
    program = (
        "import os, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # in a job it is ignored
        "sys.meta_path.insert(0, Stop())\n"
        "from tenslora_search.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "tenslora-search: interrupted.\n")


@pytest.mark.parametrize("gpus", ["-1", "1.5", "nan"])
def test_gpus_per_worker_is_none_a_share_or_whole(command, tmp_path, gpus):
    code, _, err = command(*SMALL, "--gpus-per-worker", gpus, "--out", str(tmp_path / "run"))
    assert code == 2
    assert err.startswith("tenslora-search: --gpus-per-worker is 0, a share")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--budget 20k --task digits --dry-run",
        " ".join([*COUNT, "--model", "roberta-base"]),
    ],
)
def test_quick_answers_import_neither_torch_nor_ray(words):
    program = (
        f"import sys; sys.argv = ['tenslora-search', *{words.split()!r}]\n"
        "from tenslora_search import cli\n"
        "try: cli.main()\n"
        "finally: print(*[name for name in ('torch', 'ray', 'transformers', 'pandas') if name in "
        "sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.split() == []


def test_a_search_says_which_text_it_leaves_unread(command, caplog, tmp_path):
    from PIL import Image

    rows = ["image,caption,label"]
    for row in range(30):
        Image.new("L", (8, 8), 8 * row).save(tmp_path / f"{row}.png")
        rows.append(f"{row}.png,a square,{row % 2}")
    (tmp_path / "own.csv").write_text("\n".join(rows))
    small = (
        "--budget 6k --model digits-vit --trials 1 --max-steps 2 --batch-size 4 --retest 0 "
        "--executor inline"
    ).split()
    own = [*small, "--data", str(tmp_path / "own.csv"), "--out", str(tmp_path / "run")]
    code, out, err = command(*own)
    assert (code, err) == (0, "")
    assert "front" in out
    assert caplog.messages == ["reads image; unused: caption (--column ROLE=NAME reads others)"]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["columns"], run["unused_columns"]) == (
        {"image": "image", "label": "label"},
        ["caption"],
    )
    before = logging.getLogger("tenslora_search").level
    assert command(*own, "--quiet") == (0, "", "")
    assert json.loads(command(*own, "--json")[1])["front"]
    assert len(caplog.messages) == 1
    assert logging.getLogger("tenslora_search").level == before


def test_options_come_from_a_file_the_environment_and_what_is_typed(command, tmp_path, monkeypatch):
    config = tmp_path / "nightly.toml"
    config.write_text('budget = "6k"\ntask = "digits"\ntrials = 5\ntime-limit = "2h"\n')
    asked = ("--config", str(config), "--dry-run")
    assert "5 trials" in command(*asked)[1]
    monkeypatch.setenv("TENSLORA_TRIALS", "7")
    assert "7 trials" in command(*asked)[1]
    assert "9 trials" in command(*asked, "--trials", "9")[1]
    config.write_text("budget = 3\ntrails = 4\n")
    code, _, err = command(*asked)
    assert (code, err.count("\n")) == (2, 1)
    assert "no option named 'trails'" in err
    code, _, err = command("--budget", "6k", "--task", "digits", "--log-level", "loud")
    assert (code, "--log-level is debug, info" in err) == (2, True)


def test_the_gate(command, tmp_path):
    old = shutil.copytree(ROOT / "tests" / "report" / "digits", tmp_path / "old")
    code, out, _ = command("gate", str(old), str(old))
    assert (code, out.splitlines()[-1]) == (0, "gate: holds (accuracy on report)")
    lines = (old / "trials.jsonl").read_text()
    new = shutil.copytree(old, tmp_path / "new")
    (new / "trials.jsonl").write_text(lines.replace('"report_score":0.', '"report_score":0.0'))
    code, out, _ = command("gate", str(new), str(old), "--json")
    assert (code, json.loads(out)["holds"]) == (1, False)


def printed(capsys, folder: Path) -> str:
    answers.print_result(load_run(folder), as_json=False, quiet=False)
    return capsys.readouterr().out


def test_a_search_its_report_and_its_exports(command, capsys, monkeypatch, tmp_path):
    folder = tmp_path / "my run"
    code, out, err = command(*SMALL, "--out", str(folder))
    assert (code, err) == (0, "")
    typed = json.loads((folder / "run.json").read_text())["command"]
    assert shlex.split(typed) == ["tenslora-search", *SMALL, "--out", str(folder)]
    assert "proof: 0 of 6 configurations over budget" in out
    assert str(folder / "report.html") in out.replace("\n", "")

    code, out, err = command(*SMALL, "--out", str(folder), "--json")
    result = json.loads(out)
    assert (code, err, result["proof"]) == (0, "", {"checked": 6, "over": 0})
    assert result["front"]
    assert command(*SMALL, "--out", str(folder), "--quiet") == (0, "", "")

    assert json.loads((folder / "result.json").read_text()) == result
    assert load_config(folder / "search.toml")["executor"] == "inline"
    again = command("--config", str(folder / "search.toml"), "--out", str(folder), "--quiet")
    assert again == (0, "", "")
    assert command("gate", str(folder), str(folder))[0] == 2  # one seed measures no noise

    assert f"adapters: {folder / 'adapters'}" in printed(capsys, folder)
    shutil.rmtree(folder / "adapters")  # as after Ctrl-C before anything was complete
    assert "adapters:" not in printed(capsys, folder)

    made = [folder / name for name in ("report.html", "front.csv", "front.png")]
    for path in made:
        path.unlink()
    assert command("report", str(folder))[0] == 0
    assert all(path.is_file() for path in made)

    with monkeypatch.context() as patch:
        narrow = io.TextIOWrapper(io.BytesIO(), "latin-1")
        patch.setattr(sys, "stdout", narrow)
        assert command(*SMALL, "--out", str(folder))[0] == 0
        narrow.flush()
        assert b"front (accuracy)" in narrow.buffer.getvalue()

    for pick in ("best", "knee", "smallest", str(result["front"][0]["number"])):
        code, out, err = command(
            "export", str(folder), "--pick", pick, "--to", str(tmp_path / pick)
        )
        assert (code, err) == (0, "")
        assert (tmp_path / pick / "adapter_model.safetensors").is_file()
    for arguments, message in {
        ("--pick", "99", "--to", str(tmp_path / "none")): "no trial 99",
        ("--format", "merged", "--to", str(tmp_path / "best")): "which is not of this format",
        ("--to", str(folder)): "is no export",
        ("--to", str(folder / "run.json")): "it is a file",
    }.items():
        code, out, err = command("export", str(folder), *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_a_dry_run_of_own_data_reads_it(command, tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("text,label,note,id\n" + "good,a,x,1\nbad,b,y,2\nfine,a,z,3\n" * 10)
    asked = ["--data", str(path), "--model", "minilm", "--budget", "20k", "--dry-run"]
    code, out, _ = command(*asked)
    assert code == 0
    assert "reads text=text, label=label; unused: note, id\n" in out
    assert "30 rows of train; goal classes, metric accuracy\n2 classes: a 20, b 10\n" in out
    assert command(*asked, "--quiet") == (0, "", "")
    code, out, err = command(*asked, "--column", "text=nope")
    assert (code, out) == (2, "")
    assert "no column 'nope' for text; columns of" in err
    assert "label=label; unused: id\n" in command(*asked, "--group", "note")[1]
    assert "no column 'nope' for --group; columns of" in command(*asked, "--group", "nope")[2]


def test_a_size_beside_a_model_is_refused_and_a_plugin_may_follow_its_verb(command, tmp_path):
    code, _, err = command(*COUNT, "--model", "roberta-base", "--hidden", "32")
    assert code == 2
    assert "--model or sizes; roberta-base says what --hidden would" in err
    (tmp_path / "mine.py").write_text("raise ValueError('no such luck')")
    code, _, err = command(*COUNT, "--model", "roberta-base", "--plugin", str(tmp_path / "mine.py"))
    assert code == 2
    assert "line 1: ValueError: no such luck" in err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--task dig", "digits"),
        ("--methods lora,tenslora_att_q", "lora,tenslora_att_qkv lora,tenslora_att_qkv_depth"),
        ("export run --format m", "merged"),
        ("--metric f1_m", "f1_macro f1_micro"),
        ("--config none.toml --space lan", "language"),
    ],
)
def test_a_shell_completes_values_without_torch(typed, offered):
    words = f"tenslora-search {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    asked["_TENSLORA_SEARCH_COMPLETE"] = "complete_bash"
    program = (
        "import sys; sys.argv = ['tenslora-search']; import atexit; "
        "atexit.register(lambda: 'torch' in sys.modules and print('torch')); "
        "from tenslora_search.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | asked
    )
    assert done.stdout.split() == offered.split(), done.stderr
