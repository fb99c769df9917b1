"""A whole search from the shell against one Ray Tune trial process a configuration: wall time, as a
ratio in one run.

Ours is the command of the README, Ray's start and the report included. The baseline trains the very
configurations that the search proposed, each to the last step in a process of its own, one a core
at a time, with the same training code. It has no front to retest and writes no report, and its
clock starts when Ray is up.

    python scripts/bench_search.py --trials 64 --out reports/bench_search.md
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tenslora_search.spec.tasks import TASKS


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "run")
        command = [
            "--budget",
            options.budget,
            "--task",
            options.task,
            "--trials",
            str(options.trials),
            "--out",
            str(folder),
        ]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tenslora_search", *command], check=True)
        ours = time.perf_counter() - began
        events = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
        specs = [event["spec"] for event in events if event["event"] == "proposed"]
        theirs = one_process_each(specs, options.task, Path(scratch, "baseline"))
    lines = [
        f"# {options.task}, {len(specs)} trials, budget {options.budget}: a search against one "
        "process a configuration",
        "",
        f"`tenslora-search {' '.join(command[:-2])}`; {os.cpu_count()} cores. Made by "
        "`scripts/bench_search.py`.",
        "",
        "| | seconds |",
        "| --- | --: |",
        f"| `tenslora-search`, from the shell to the report | {ours:.1f} |",
        f"| one Ray Tune trial process a configuration, all to the last step | {theirs:.1f} |",
        f"| ratio | {theirs / ours:.1f} |",
    ]
    print(*lines, sep="\n")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def one_process_each(specs: list[dict], task: str, folder: Path) -> float:
    """Seconds from the first trial's start to the last one's end."""
    import ray
    from ray import tune

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    trainable = tune.with_resources(
        tune.with_parameters(train, task=task, folder=str(folder)), {"cpu": 1}
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"spec": tune.grid_search(specs)},
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(storage_path=str(folder), name="baseline", verbose=0),
    )
    began = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - began
    ray.shutdown()
    if results.errors:
        raise SystemExit(
            f"{len(results.errors)} baseline trials failed; the first: {results.errors[0]}"
        )
    return seconds


def train(config: dict, task: str, folder: str) -> None:
    """One configuration, from its first step to its last, in this process."""
    from ray import tune

    from tenslora_search.runs.segment import Entrant, Segment, Setting
    from tenslora_search.spec.trial import TrialSpec
    from tenslora_search.training.segment import run

    row = TASKS[task]
    segment = Segment(
        id="baseline",
        entrants=(Entrant(0, TrialSpec.from_json(config["spec"])),),
        from_step=0,
        to_step=row.max_steps,
        setting=Setting(row.model, {"name": task}, row.batch_size, row.max_steps),
    )
    (result,) = run(segment, Path(folder, tune.get_context().get_trial_id()))
    tune.report({"score": result.score if result.score is not None else 0.0})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="digits")
    parser.add_argument("--budget", default="20k")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
