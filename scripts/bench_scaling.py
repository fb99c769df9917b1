"""Measures one search on 1, 2, 4 and 8 GPUs of one host: the same question, seed and packs.

    python scripts/bench_scaling.py run --gpus 0 --name minilm-1 --task sst2 --model FOLDER \
        --data DATA/sst2 --max-steps 3000 --out runs
    python scripts/bench_scaling.py run --gpus 1,2 --name minilm-2 ... --out runs
    python scripts/bench_scaling.py shape --like FOLDER --out roberta-shape
    python scripts/bench_scaling.py table runs --out reports/scaling.md

`run` searches from a shell of its own on the cards named and writes NAME.json: seconds from the
shell to the report and where they went. `shape` saves an encoder of RoBERTa-base's shape (12 layers
of 768, random weights of seed 0) with the tokenizer of another: its scores say nothing, its speed
does. `table` puts runs of one kind beside each other: NAME is KIND-GPUS.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenslora_search import load_run
from tenslora_search.runs.events import Rung, SegmentDone, read_events
from tenslora_search.runs.run_file import RunFile

REACH = {2: 0.9, 4: 0.8, 8: 0.7}
"""The efficiency that was asked for, by GPUs."""


def main() -> None:
    options = arguments()
    options.act(options)


def shape(options: argparse.Namespace) -> None:
    """Saves the encoder."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(options.like)
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(tokenizer)), add_pooling_layer=False)
    model.bfloat16().save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


def run(options: argparse.Namespace) -> None:
    """Searches, and writes where the seconds went."""
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.out / options.name
    asked = {
        "task": options.task, "model": str(options.model), "data": str(options.data),
        "budget": options.budget, "trials": options.trials, "max_steps": options.max_steps,
        "fit_rows": options.fit_rows, "split": options.split, "pack": options.pack,
        "out": str(folder), "seed": 0,
    }  # fmt: skip
    times = folder.with_suffix(".times")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": options.gpus}
    began = time.time()
    command = [sys.executable, __file__, "child", json.dumps(asked), str(times)]
    subprocess.run(command, env=environment, check=True)
    seconds = time.time() - began
    n_gpus = options.gpus.count(",") + 1
    found = {"name": options.name, "gpus": n_gpus, "seconds": seconds, "asked": asked}
    found |= spent(folder, json.loads(times.read_text()), began, n_gpus)
    folder.with_suffix(".json").write_text(json.dumps(found, indent=1))
    print(json.dumps({name: found[name] for name in found if name not in ("asked", "front")}))


def child(options: argparse.Namespace) -> None:
    """The search itself, which notes when each score was written down."""
    from tenslora_search import search

    heard: list[tuple[str, float]] = [("imported", time.time())]
    search(
        **json.loads(options.asked), callbacks=[lambda e: heard.append((e["event"], time.time()))]
    )
    heard.append(("reported", time.time()))
    options.times.write_text(json.dumps(heard))


def spent(
    folder: Path, heard: Sequence[tuple[str, float]], began: float, n_gpus: int
) -> dict[str, Any]:
    """Seconds until the search's first pack, in it, in the retest and for the report; what each
    card was busy with.
    """
    events = read_events(folder / "trials.jsonl")
    packs = [one for one in events if isinstance(one, SegmentDone)]
    steps = sum(len(one.numbers) * (one.to_step - one.from_step) for one in packs)
    first = next(at for name, at in heard if name == "proposed")
    last_score = max(at for name, at in heard if name == "rung")
    last_retest = max((at for name, at in heard if name == "retest"), default=last_score)
    in_packs = sum(one.seconds for one in packs)
    searching = last_score - first
    members, budget = load_run(folder).front(), RunFile.read(folder).budget
    front = sorted(zip(members["n_params"].tolist(), members["score"].tolist(), strict=True))
    return {
        "start": first - began, "search": searching, "retest": last_retest - last_score,
        "report": heard[-1][1] - last_retest,
        "trial_steps": steps, "trial_steps_a_second": steps / searching, "packs": len(packs),
        "busy": in_packs / (n_gpus * searching), "front": front,
        "area": area(front, budget),
        "curves": sum(isinstance(one, Rung) for one in events),
    }  # fmt: skip


def area(front: Sequence[tuple[int, float]], budget: int) -> float:
    """Hypervolume of (parameters, score) within the budget, in score x decades of parameters."""
    done, top = 0.0, 0.0
    ends = [*(size for size, _ in front[1:]), budget]
    for (size, score), end in zip(front, ends, strict=True):
        top = max(top, score)
        done += (math.log10(end) - math.log10(size)) * top
    return done


def table(options: argparse.Namespace) -> None:
    """All runs of a folder as a page."""
    runs = [json.loads(file.read_text()) for file in sorted(options.runs.glob("*-*.json"))]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(runs, key=lambda one: one["gpus"]):
        kinds.setdefault(one["name"].rpartition("-")[0], []).append(one)
    text = ["# One search over several GPUs", ""]
    for kind, found in kinds.items():
        text += [f"## {kind}", "", *rows_of(found), ""]
    options.out.write_text("\n".join(text), encoding="utf-8")
    draw(kinds, options.out.with_suffix(".png"))


def rows_of(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of one kind of run."""
    alone = next((one for one in found if one["gpus"] == 1), found[0])
    lines = [
        "| GPUs | seconds, shell to report | start | search | retest | report | trial-steps/s | "
        "busy | efficiency of the search | from shell to report | asked | front | hypervolume |",
        "| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- | --: |",
    ]
    for one in found:
        n = one["gpus"] / alone["gpus"]
        of_search = alone["search"] / (n * one["search"])
        of_all = alone["seconds"] / (n * one["seconds"])
        same = "the same" if one["front"] == alone["front"] else difference(one, alone)
        asked = f"{REACH[one['gpus']]:.0%}" if one["gpus"] in REACH else "-"
        lines.append(
            f"| {one['gpus']} | {one['seconds']:.0f} | {one['start']:.0f} | {one['search']:.0f} | "
            f"{one['retest']:.0f} | {one['report']:.0f} | {one['trial_steps_a_second']:,.0f} | "
            f"{one['busy']:.0%} | {of_search:.0%} | {of_all:.0%} | {asked} | {same} | "
            f"{one['area']:.3f} |"
        )
    return lines


def difference(one: Mapping[str, Any], alone: Mapping[str, Any]) -> str:
    shared = [member for member in one["front"] if member in alone["front"]]
    return f"{len(shared)} of {len(alone['front'])} members"


def draw(kinds: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Speed-up by GPUs, beside what more GPUs would give at best."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    most = max(one["gpus"] for found in kinds.values() for one in found)
    axes.plot([1, most], [1, most], color="0.7", linewidth=1, label="as many times as GPUs")
    for kind, found in kinds.items():
        gpus = [one["gpus"] for one in found]
        for what, style in (("search", "-"), ("seconds", "--")):
            label = f"{kind}, {'the search' if what == 'search' else 'shell to report'}"
            gains = [found[0][what] / one[what] for one in found]
            axes.plot(gpus, gains, style, marker="o", label=label)
    axes.set(xlabel="GPUs", ylabel="times one GPU", xticks=range(1, most + 1))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    of_shape = verbs.add_parser("shape")
    of_shape.add_argument("--like", type=Path, required=True, help="a folder with a tokenizer")
    of_shape.add_argument("--out", type=Path, required=True)
    of_shape.set_defaults(act=shape)
    of_run = verbs.add_parser("run")
    of_run.add_argument("--gpus", required=True, help="0 or 0,1: as CUDA_VISIBLE_DEVICES")
    of_run.add_argument("--name", required=True)
    of_run.add_argument("--task", default="sst2")
    of_run.add_argument("--model", type=Path, required=True)
    of_run.add_argument("--data", type=Path, required=True)
    of_run.add_argument("--budget", default="300k")
    of_run.add_argument("--trials", type=int, default=256)
    of_run.add_argument("--max-steps", type=int, default=900)
    of_run.add_argument("--fit-rows", type=int, default=20_000)
    of_run.add_argument("--split", type=int, default=4)
    of_run.add_argument("--pack", type=int, default=32)
    of_run.add_argument("--out", type=Path, default=Path("runs"))
    of_run.set_defaults(act=run)
    of_child = verbs.add_parser("child")
    of_child.add_argument("asked")
    of_child.add_argument("times", type=Path)
    of_child.set_defaults(act=child)
    of_table = verbs.add_parser("table")
    of_table.add_argument("runs", type=Path)
    of_table.add_argument("--out", type=Path, required=True)
    of_table.set_defaults(act=table)
    return parser.parse_args()


if __name__ == "__main__":
    main()
