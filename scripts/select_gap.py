"""How far select scores lie above report scores, and how well they order trials, when fit and
select are cut row by row and when near rows stay together.

    python scripts/select_gap.py --tasks sst2 cola rte --data DATA --model minilm --overlap-only
    python scripts/select_gap.py --tasks sst2 cola --data DATA --model minilm --configurations 64 \
        --max-steps 1500 --out reports/select_gap.md

DATA holds a folder a task. The overlap is the share of rows that have at least half of their word
4-grams in fit; it needs no GPU. Gap and Spearman are over configurations drawn at random from the
default space, in packs, all trained to the end on the same seed.
"""

import argparse
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record_curves import configurations

from tenslora_search.data import near
from tenslora_search.data import parts as cutting
from tenslora_search.data.columns import find_columns
from tenslora_search.data.parts import Part, three_parts
from tenslora_search.data.rows import Rows
from tenslora_search.data.sources import read_local
from tenslora_search.data.task import load_task
from tenslora_search.nn.places import geometry_of
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.budget import parse_count
from tenslora_search.spec.tasks import TASKS
from tenslora_search.study.space import SearchSpace
from tenslora_search.training.pack import Pack
from tenslora_search.training.segment import worker_backbone

CUTS = ("row by row", "near rows together")


@contextmanager
def cut_by(how: str) -> Iterator[None]:
    """Rows are kept together as the package does, or equal ones alone."""
    kept, version = cutting.near_groups, cutting.NEAR
    if how == CUTS[0]:
        cutting.near_groups, cutting.NEAR = (lambda columns, equal: equal), "equal rows"
    try:
        yield
    finally:
        cutting.near_groups, cutting.NEAR = kept, version


def overlap(name: str, folder: Path, seed: int) -> dict[str, tuple[float, float]]:
    """By cut: the share of select rows, and of report rows, that have half their grams in fit."""
    task = TASKS[name]
    source = read_local(folder, name)
    roles = find_columns(source, task, {})
    found = {}
    for how in CUTS:
        parts = {}
        for split in ("train", "validation"):
            frame = source.frames[split]
            rows = Rows.of(frame, roles, source, split)
            parts[split] = Part(rows, frame[roles.labels[0]].to_numpy())
        with cut_by(how):
            taken, _ = three_parts(source, task.goal, parts, "validation", seed, None, None)
        columns = {part: one.rows.columns for part, one in taken.items()}
        longest = int(np.argmax([sum(map(len, column)) for column in columns["fit"]]))
        texts = {part: column[longest] for part, column in columns.items()}
        shares = [
            float(np.mean(near.share_of_grams_in(texts[part], texts["fit"]) >= near.SHARED))
            for part in ("select", "report")
        ]
        found[how] = (shares[0], shares[1])
    return found


def gaps(name: str, options: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """By cut: mean of select - report, Spearman of both, report of the best by select."""
    found = {}
    where = {"name": name, "data": str((options.data / name).resolve())}
    setting = Setting(options.model, where, TASKS[name].batch_size, options.max_steps)
    (model, anew), _ = worker_backbone(setting)
    space = SearchSpace.load("default", geometry_of(model), parse_count(options.budget))
    specs = [spec for _, spec in configurations(space, options.configurations, options.seed)]
    for how in CUTS:
        with cut_by(how):
            data: Any = load_task(**where, model=options.model, fit_rows=options.fit_rows)
        scores: list[tuple[float, float]] = []
        for first in range(0, len(specs), options.pack):
            pack = Pack(
                model, on_device(data, model), specs[first : first + options.pack],
                max_steps=options.max_steps, batch_size=setting.batch_size, anew=anew,
            )  # fmt: skip
            with pack:
                pack.advance(options.max_steps)
                both = pack.scores(data.select), pack.scores(data.report)
                scores += zip(*both, strict=True)
        frame = pd.DataFrame(scores, columns=["select", "report"]).dropna()
        found[how] = (
            statistics.fmean(frame["select"] - frame["report"]),
            float(frame["select"].corr(frame["report"], method="spearman")),
            float(frame["report"][frame["select"].idxmax()]),
        )
    return found


def on_device(data: Any, model: Any) -> Any:
    """The data where the model is."""
    device = next(model.parameters()).device
    for part in (data.fit, data.select, data.report):
        part.inputs = {name: value.to(device) for name, value in part.inputs.items()}
        part.labels = part.labels.to(device)
    return data


def main() -> None:
    options = arguments()
    lines = ["# Select like report", "", "Made by `scripts/select_gap.py`.", ""]
    head = "| task | cut | select rows with half their 4-grams in fit | report rows that have |"
    more = " mean select - report | Spearman | report of the best by select |"
    lines += [head + ("" if options.overlap_only else more)]
    lines += ["| --- | --- | --: | --: |" + ("" if options.overlap_only else " --: | --: | --: |")]
    for name in options.tasks:
        shares = overlap(name, options.data / name, options.seed)
        measured = {} if options.overlap_only else gaps(name, options)
        for how in CUTS:
            line = f"| {name} | {how} | {shares[how][0]:.1%} | {shares[how][1]:.1%} |"
            line += "".join(f" {one:.4f} |" for one in measured.get(how, ()))
            lines.append(line)
            print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["sst2", "cola", "rte"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--budget", default="300k")
    parser.add_argument("--configurations", type=int, default=64)
    parser.add_argument("--max-steps", type=int, default=1500)
    parser.add_argument("--fit-rows", type=int)
    parser.add_argument("--pack", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overlap-only", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
