"""Exports where only torch, peft and transformers are installed: does each format give the score
that its card states?

Three small searches, on images, on texts and on text to be written, are made here. Both ends of
their fronts are exported in every format, and each folder is loaded in a fresh virtual environment
by the very code of its card, to predict the report split from its raw rows with the folder's own
tokenizer or image processor; a language model's loss is taken on the report's tokens, and the
card's example of generate() is run. `--model` is the language model: smollm2 (extra `lm`), or a
folder.
tenslora_search is not installed there; `native` gets its bare source on the path and one more
package, opt_einsum. The base model minilm comes from a hub cache made of the installed package.

    python scripts/check_exports.py --out reports/check_exports.md

Exit code 1 if a score differs from the card's by more than one row of the report split (another
order of sums can move a row that lies between two classes), or a loss by more than 0.001.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tenslora_search import Run, search
from tenslora_search.data.goals import base
from tenslora_search.data.metrics import METRICS
from tenslora_search.data.task import load_task
from tenslora_search.export.formats import FORMATS
from tenslora_search.hub.places import model_place
from tenslora_search.runs.question import Question
from tenslora_search.spec.backbones import BACKBONES
from tenslora_search.spec.tasks import TASKS

SEARCHES: dict[str, dict[str, Any]] = {
    "digits": {"task": "digits", "budget": "20k", "trials": 8, "pruner": "none"},
    "docstrings": { "task": "docstrings", "model": "minilm", "budget": "50k", "trials": 4,
    "pruner": "none", "max_steps": 30, "batch_size": 16, "max_length": 48, },
    "docstrings_lm": {"task": "docstrings_lm", "budget": "100k", "trials": 3, "pruner": "none",
    "max_steps": 12, "space": "language", "retest": 1},
}  # fmt: skip
INSTALLED = ("torch", "peft", "transformers", "pillow", "opt_einsum")
ABSENT = ("ray", "optuna", "datasets", "pandas", "sklearn", "scipy", "matplotlib", "torchvision")
ROOT = Path(__file__).resolve().parents[1]

PREDICT = """
import base64, importlib.util, io, json, re, sys
import torch
from PIL import Image

readme, rows, absent = sys.argv[1:]
found = [name for name in absent.split() if importlib.util.find_spec(name)]
assert not found, f"this environment has {found}"
made = {}
exec(re.search(r"```python\\n(.*?)```", open(readme, encoding="utf-8").read(), re.DOTALL)[1], made)
model, rows = made["model"], json.load(open(rows, encoding="utf-8"))
labels = []
for start in range(0, len(rows["columns"][0]), 64):
    columns = [column[start : start + 64] for column in rows["columns"]]
    if "processor" in made:
        cells = [io.BytesIO(base64.b64decode(cell)) for cell in columns[0]]
        images = [Image.open(cell).convert("RGB") for cell in cells]
        inputs = made["processor"](images, return_tensors="pt")
    else:
        options = {"max_length": rows["max_length"], "padding": True, "return_tensors": "pt"}
        inputs = made["tokenizer"](*columns, truncation=True, **options)
    with torch.no_grad():
        answers = model(**inputs).logits.argmax(-1).tolist()
        labels += [model.config.id2label[number] for number in answers]
print(json.dumps(labels))
"""


WRITE = """
import importlib.util, json, re, sys
import torch

readme, rows, absent = sys.argv[1:]
found = [name for name in absent.split() if importlib.util.find_spec(name)]
assert not found, f"this environment has {found}"
made = {}
for code in re.findall(r"```python\\n(.*?)```", open(readme, encoding="utf-8").read(), re.DOTALL):
    exec(code, made)
total, count = 0.0, 0
for tokens, targets in json.load(open(rows, encoding="utf-8")):
    with torch.no_grad():
        logits = made["model"](input_ids=torch.tensor([tokens])).logits[0].float()
    wanted = torch.tensor(targets)
    total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
    count += int((wanted != -100).sum())
print(json.dumps({"score": -total / count, "answer": made["answer"]}))
"""
MOST_OFF = 1e-3
"""Of a loss: another order of sums."""


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        python = fresh_environment(work / "venv")
        packages = subprocess.run(
            [python, "-m", "pip", "list", "--format=freeze"],
            capture_output=True,
            text=True,
            check=True,
        )
        hub = hub_cache(work / "hub", "minilm")
        rows, worst = [], 0.0
        for name, asked in SEARCHES.items():
            if options.only and name not in options.only:
                continue
            more = {"model": options.model} if name == "docstrings_lm" else {}
            run = search(**asked, **more, executor="inline", out=work / name)
            report = report_split(run.file.question)
            (work / f"{name}.json").write_text(json.dumps(report["inputs"]), encoding="utf-8")
            for number in run.front()["number"].iloc[[0, -1]].drop_duplicates():
                for format in FORMATS:
                    row = check(run, number, format, report, python, hub, work)
                    off = abs(row["found"] - row["stated"])
                    is_loss = name == "docstrings_lm"
                    worst = max(worst, off / MOST_OFF if is_loss else off * row["rows"])
                    rows.append(row)
                    print(as_line(row), flush=True)
    lines = page(rows, packages.stdout.split())
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(worst > 1 + 1e-6)


def check(
    run: Run, number: int, format: str, report: dict, python: Path, hub: Path, work: Path
) -> dict[str, Any]:
    """One folder: the score its card states for these weights, and the one that it gives in the
    fresh environment.
    """
    import yaml

    folder = run.export(number, work / f"{run.folder.name}-{number}-{format}", format)
    matter = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    stated = matter["model-index"][0]["results"][0]["metrics"][0]["value"]
    environment = {
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
        "PATH": os.environ["PATH"],
        "HOME": str(work),
    }
    absent = ABSENT
    if format == "native":
        environment["PYTHONPATH"] = str(bare_source(work / "source"))
    else:
        absent = (*ABSENT, "tenslora_search")
    is_written = run.file.goal == "next_token"
    command = [
        python,
        "-c",
        WRITE if is_written else PREDICT,
        folder / "README.md",
        work / f"{run.folder.name}.json",
        " ".join(absent),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work)
    if done.returncode:
        sys.exit(done.stderr)
    said = json.loads(done.stdout.splitlines()[-1])
    if is_written:
        print(f"{format} writes: {said['answer']!r}", flush=True)
        found = said["score"]
    else:
        one_hot = [[float(label == one) for label in report["names"]] for one in said]
        found = METRICS[run.file.metric](one_hot, report["labels"])
    trials = run.trials().set_index("number")
    return {
        "search": run.folder.name, "model": run.file.model, "trial": number,
        "method": trials.loc[number, "method"], "format": format, "rows": len(report["labels"]),
        "stated": stated, "found": found, "seconds": time.perf_counter() - began,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }  # fmt: skip


def report_split(question: Question) -> dict[str, Any]:
    """The report split before any tokenizer: load_task encodes fit, select and report, in that
    order.
    """
    if TASKS[question.task or ""].goal == "next_token":
        return report_tokens(question)
    seen, encode = [], base.encode

    def listen(rows: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(rows)
        return encode(rows, *arguments, **options)

    base.encode = listen
    try:
        task = load_task(**question.task_options, model=question.model)
    finally:
        base.encode = encode
    columns = [
        [base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell for cell in column]
        for column in seen[2].columns
    ]
    inputs = {"columns": columns, "max_length": question.max_length}
    return {"inputs": inputs, "labels": task.report.labels.tolist(), "names": task.goal.names}


def report_tokens(question: Question) -> dict[str, Any]:
    """Of text to be written: each row's tokens, and which is to come after each (-100: none)."""
    split = load_task(**question.task_options, model=question.model).report
    ids, targets = split.inputs["input_ids"].tolist(), split.inputs["targets"].tolist()
    lengths = split.lengths.tolist()
    rows = [(i[:n], t[:n]) for i, t, n in zip(ids, targets, lengths, strict=True)]
    return {"inputs": rows, "labels": split.labels.tolist(), "names": ()}


def fresh_environment(folder: Path) -> Path:
    """A virtual environment with the tested versions of torch, peft, transformers, Pillow and
    opt_einsum; its Python.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = [f"{name}=={version(name)}".partition("+")[0] for name in INSTALLED]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *wanted],
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        sys.exit(installed.stderr)
    return python


def hub_cache(folder: Path, model: str) -> Path:
    """A hub cache that holds one model, as if downloaded, for an environment without a network."""
    repository = folder / f"models--{BACKBONES[model].hub.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(model_place(model), repository / "snapshots" / ("0" * 40))
    return folder


def bare_source(folder: Path) -> Path:
    """A folder with the package's source and nothing else."""
    shutil.copytree(ROOT / "tenslora_search", folder / "tenslora_search", dirs_exist_ok=True)
    return folder


COLUMNS = (
    "search",
    "model",
    "trial",
    "method",
    "format",
    "kB",
    "rows",
    "card",
    "measured",
    "difference",
)


def as_line(row: dict[str, Any]) -> str:
    shown = [
        row["search"],
        row["model"],
        row["trial"],
        row["method"],
        row["format"],
        f"{row['bytes'] / 1000:,.0f}",
        row["rows"],
    ]
    scores = [f"{row['stated']:.4f}", f"{row['found']:.4f}", f"{row['found'] - row['stated']:+.4f}"]
    return f"| {' | '.join(map(str, [*shown, *scores]))} |"


def page(rows: list[dict[str, Any]], packages: list[str]) -> list[str]:
    return [
        "# Exported folders where only torch, peft and transformers are installed",
        "",
        "`python scripts/check_exports.py --out reports/check_exports.md`",
        "",
        "Each folder is loaded in a fresh virtual environment by the code of its own card and "
        "predicts the report split from",
        "raw rows; `card` is the score that the card states for these weights. kB is the whole "
        "folder, base model included",
        "where it is on no hub. For `native`, tenslora_search is bare source on the path; "
        "elsewhere it is absent.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *map(as_line, rows),
        "",
        f"The environment: {', '.join(packages)}. Not in it: {', '.join(ABSENT)}.",
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    parser.add_argument("--model", default="smollm2", help="the language model")
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES), help="of the searches")
    return parser.parse_args()


if __name__ == "__main__":
    main()
