"""Six users of the seams in searches of digits: does every trial end, and does every export give
what the trial itself gave?

One search has SoRA's gates, norm-bounded LoRA, LoRAN's map, ranks that ramp and three choices of
adapted maps; one has several labels a row, over digits of our own. Every complete trial is exported
in every format and loaded by the very code of its card; its outputs on the report rows are compared
with those of the trial's own pack. peft must refuse a dense update in one line.

    python scripts/check_seams.py --out reports/seams.md

Exit code 1 if a trial fails or an output differs by more than 1e-4. In the file what stands below
`<!-- by hand -->` is kept.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tenslora_search import Run, search
from tenslora_search.backbone.load import load_backbone
from tenslora_search.data.digits import digits_frame
from tenslora_search.data.task import TaskData, load_task
from tenslora_search.export.formats import FORMATS
from tenslora_search.report.reading import read_run
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

TOLERANCE = 1e-4
BY_HAND = "<!-- by hand -->"
LABELS: Mapping[str, Callable[[int], bool]] = {
    "five or six": lambda digit: digit in (5, 6),
    "even": lambda digit: digit % 2 == 0,
    "above seven": lambda digit: digit > 7,
}
MULTI_LABEL_SPACE = """
structure = ["none x cp", "none x sora"]
construction = ["none"]
decomposition = ["cp", "sora"]
sites = ["qkv", "qv", "qkvo"]
"""
USERS: Mapping[str, Callable[[str, Any], bool]] = {
    "LoRA, for comparison": lambda name, row: row["method"] == "LoRA",
    "SoRA gates": lambda name, row: row["decomposition"] == "sora",
    "norm-bounded LoRA": lambda name, row: row["decomposition"] == "nb_lora",
    "LoRAN's map": lambda name, row: row["map"] == "sinter",
    "ramp over layers": lambda name, row: row["allocator"] == "ramp",
    "sites: qv": lambda name, row: row["sites"] == "query value",
    "sites: qkvo": lambda name, row: row["sites"] == "query key value out",
    "several labels a row": lambda name, row: name == "labels",
}
"""Which trials use a seam, by the search's name and the row of `Run.trials`."""


@dataclass
class Tally:
    """What became of the trials of one user of a seam."""

    states: list[str] = field(default_factory=list)
    best: float = float("-inf")
    parameters: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    refused: int = 0


def searches(folder: Path, *, trials: int, max_steps: int) -> dict[str, Run]:
    """Both searches, inline, every trial trained to the end; of labels half as many trials."""
    common: dict[str, Any] = {
        "max_steps": max_steps, "batch_size": 32, "pruner": "none", "retest": 0,
        "executor": "inline",
    }  # fmt: skip
    space = folder / "labels.toml"
    space.write_text(MULTI_LABEL_SPACE)
    own = labelled_digits(folder / "labels.parquet")
    return {
        "seams": search(
            "digits", trials=trials, budget="20k", space="seams", out=folder / "seams", **common
        ),
        "labels": search(
            data=own,
            model="digits-vit",
            trials=trials // 2,
            budget="20k",
            space=space,
            out=folder / "labels",
            **common,
        ),
    }


def labelled_digits(path: Path) -> Path:
    """Pictures of 5 to 9 with all labels that hold of each; 7 has none."""
    frame = digits_frame()
    frame["label"] = [
        [name for name, holds in LABELS.items() if holds(int(digit))] for digit in frame["label"]
    ]
    frame.to_parquet(path)
    return path


def own_answers(state: Path, data: TaskData, model: Any, anew: Sequence[str]) -> np.ndarray:
    """What the trial answers on the report rows in a pack of its own: (row, output)."""
    about, _ = read_state(state)
    spec, step = TrialSpec.from_json(about["spec"]), int(about["step"])
    with Pack(
        model, data, [spec], max_steps=step, batch_size=64, from_step=step, states=[state],
        anew=anew,
    ) as pack:  # fmt: skip
        return pack.predict(data.report)[0]


def exported_answers(folder: Path, data: TaskData) -> np.ndarray:
    """What an exported folder answers on the report rows, loaded by the code of its card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    made: dict[str, Any] = {}
    loading = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert loading is not None
    exec(loading[1], made)
    parts = []
    with torch.no_grad():
        for images in data.report.inputs["pixel_values"].split(64):
            processor = data.report.processor
            pixels = processor.normalise(images) if processor else images
            parts.append(made["model"](pixel_values=pixels).logits)
    logits = torch.cat(parts)
    return (logits.sigmoid() if data.goal.name == "labels" else logits).numpy()


def check(run: Run, folder: Path) -> dict[int, tuple[list[float], int]]:
    """For each complete trial the largest difference of each export, and how many were refused."""
    question = run.file.question
    data = load_task(**question.task_options, model=question.model)
    model, anew = load_backbone(question.model, data.goal)
    record, found = read_run(run.folder), {}
    for row in record.rows:
        if not row.is_complete:
            continue
        state = run.folder / str(record.trials[row.number].file)
        own, differences, refused = own_answers(state, data, model, anew), [], 0
        is_dense = row.settings["map"] != "as_is"
        for format in FORMATS:
            to = folder / f"{row.number}-{format}"
            try:
                run.export(row.number, to, format)
            except QuestionError as error:
                if not (is_dense and format == "peft") or "\n" in str(error):
                    raise
                refused += 1
                continue
            assert not (is_dense and format == "peft"), "peft cannot hold a dense update"
            differences.append(float(np.abs(exported_answers(to, data) - own).max()))
        found[row.number] = (differences, refused)
    return found


def tallies(
    runs: Mapping[str, Run], checked: Mapping[str, dict[int, tuple[list[float], int]]]
) -> dict[str, Tally]:
    found = {name: Tally() for name in USERS}
    for search_name, run in runs.items():
        for _, row in run.trials().iterrows():
            for user, uses in USERS.items():
                if uses(search_name, row):
                    add(found[user], row, checked[search_name].get(int(row["number"])))
    return found


def add(tally: Tally, row: "pd.Series[Any]", export: tuple[list[float], int] | None) -> None:
    tally.states.append(str(row["state"]))
    tally.parameters.append(int(row["n_params"]))
    if export is not None:
        tally.best = max(tally.best, float(row["score"]))
        tally.differences += export[0]
        tally.refused += export[1]


def page(runs: Mapping[str, Run], found: Mapping[str, Tally], command: str) -> list[str]:
    head = (
        "user of a seam", "complete", "failed", "best score", "parameters", "exports",
        "refused by peft", "largest difference",
    )  # fmt: skip
    asked = {name: len(run.trials()) for name, run in runs.items()}
    lines = [
        "# The seams in use",
        "",
        f"`{command}`",
        "",
        f"Two inline searches of digits: `seams` ({asked['seams']} trials, accuracy) and `labels`",
        f"({asked['labels']} trials, several labels a row, micro F1). A trial counts to every seam",
        "that it uses. Each complete trial is exported in every format and loaded by its card's",
        "code; the largest difference of any of its outputs on the report rows from those of the",
        "trial's own pack stands last. peft refuses dense updates in one line.",
        "",
        f"| {' | '.join(head)} |",
        f"| {' | '.join('---' for _ in head)} |",
    ]
    for name, one in found.items():
        sizes = f"{min(one.parameters):,} to {max(one.parameters):,}" if one.parameters else "none"
        cells = (
            name, one.states.count("complete"), one.states.count("failed"), f"{one.best:.4f}",
            sizes, len(one.differences), one.refused, f"{max(one.differences, default=0.0):.1e}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def methods_table(runs: Mapping[str, Run]) -> list[str]:
    """Every trial: what it is and what became of it."""
    lines = ["", "## Trials", ""]
    for name, run in runs.items():
        columns = ["number", "method", "sites", "ranks", "n_params", "state", "score"]
        lines += [
            f"| {name} | {' | '.join(columns[1:])} |",
            f"| {' | '.join('---' for _ in columns)} |",
        ]
        for _, row in run.trials().iterrows():
            ranks = row["ranks"] if len(row["ranks"]) < 30 else f"{row['ranks'][:27]}..."
            cells = [row["number"], row["method"], row["sites"], ranks.replace("|", "/")]
            lines.append(
                f"| {' | '.join(map(str, cells))} | {row['n_params']:,} | {row['state']} | "
                f"{row['score']:.4f} |"
            )
        lines.append("")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--max-steps", type=int, default=160)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        runs = searches(work, trials=options.trials, max_steps=options.max_steps)
        checked = {name: check(run, work / f"{name}-exports") for name, run in runs.items()}
        found = tallies(runs, checked)
        lines = page(runs, found, "python scripts/check_seams.py --out reports/seams.md")
        lines += methods_table(runs)
    print("\n".join(lines))
    if options.out:
        old = options.out.read_text(encoding="utf-8") if options.out.is_file() else ""
        kept = old.partition(BY_HAND)[2]
        text = "\n".join(lines) + "\n" + (BY_HAND + kept if kept else "")
        options.out.write_text(text, encoding="utf-8")
    states = [state for one in found.values() for state in one.states]
    worst = max(difference for one in found.values() for difference in one.differences)
    sys.exit(set(states) != {"complete"} or worst > TOLERANCE)


if __name__ == "__main__":
    main()
