"""A run sent to MLflow, Weights & Biases (offline) and TensorBoard, with the packages themselves,
and read back with their own readers.

    pip install mlflow-skinny wandb tensorboard
    python scripts/check_trackers.py --out reports/check_trackers.md

Exit code 1 if a tracker does not hold one run a trial with its scores.
"""

import argparse
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tenslora_search.api.results import Run, load_run
from tenslora_search.api.trackers import TRACKERS, Told, told

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mlflow-skinny", "wandb", "tensorboard", "tensorboardX")


def mlflow(run: Run, trials: list[Told]) -> dict[str, Any]:
    """What MLflow's own search finds."""
    from mlflow import search_runs

    TRACKERS["mlflow"](run)
    found = search_runs(search_all_experiments=True)
    children = found[found["tags.mlflow.parentRunId"].notna()].set_index("tags.mlflow.runName")
    parents = found[found["tags.mlflow.parentRunId"].isna()]
    alike = all(
        abs(children.loc[one.name, f"metrics.{name}"] - value) < 1e-6
        for one in trials
        for name, value in one.ends.items()
    )
    methods = {one.name: one.settings["method"] for one in trials}
    alike &= children["params.method"].to_dict() == methods
    return {"parents": len(parents), "children": len(children), "scores are the run's": alike}


def wandb(run: Run, trials: list[Told]) -> dict[str, Any]:
    """What lies in the folders that W&B keeps offline."""
    TRACKERS["wandb"](run)
    folders = sorted(Path(os.environ["WANDB_DIR"], "wandb").glob("offline-run-*"))
    files = [path for folder in folders for path in folder.glob("run-*.wandb")]
    texts = [path.read_bytes() for path in files]
    held = sum(any(one.name.encode() in text for text in texts) for one in trials)
    scores = sum(b"select_score_by_step" in text for text in texts)
    return {"parents": len(folders) - len(trials), "children": held, "with scores": scores}


def tensorboard(run: Run, trials: list[Told]) -> dict[str, Any]:
    """What TensorBoard's own reader finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TRACKERS["tensorboard"](run)
    alike, children = True, 0
    for one in trials:
        reader = EventAccumulator(str(run.folder / "tensorboard" / one.name.replace(" ", "-")))
        reader.Reload()
        children += bool(reader.Tags()["scalars"])
        curve = [(event.step, event.value) for event in reader.Scalars("select_score_by_step")]
        alike &= all(
            step == other and abs(score - value) < 1e-6
            for (step, score), (other, value) in zip(curve, one.curve, strict=True)
        )
    return {"parents": 1, "children": children, "scores are the run's": alike}


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "WANDB_MODE": "offline",
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "WANDB_DIR": folder, "WANDB_SILENT": "true",
        }  # fmt: skip
        run = load_run(shutil.copytree(options.run, Path(folder) / "run"))
        trials = list(told(run))[: options.trials]
        rows = {check.__name__: check(run, trials) for check in (mlflow, wandb, tensorboard)}
    text = page(rows, trials, options.run)
    print(text)
    if options.out:
        options.out.write_text(text)
    good = all(
        row["children"] == len(trials) and False not in row.values() for row in rows.values()
    )
    return 0 if good else 1


def page(rows: dict[str, dict[str, Any]], trials: list[Told], run: Path) -> str:
    said = [
        f"| {name} | {row['parents']} | {row['children']} | "
        f"{', '.join(f'{key}: {value}' for key, value in list(row.items())[2:])} |"
        for name, row in rows.items()
    ]
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            "# A run in MLflow, Weights & Biases and TensorBoard",
            "",
            "`python scripts/check_trackers.py --out reports/check_trackers.md`",
            "",
            f"The run `{run.name}` ({len(trials)} trials) sent by `tenslora-search track RUN --to "
            "NAME`, read back by each",
            "package's own reader (of W&B, whose reader needs its server, from its offline files).",
            "",
            "| tracker | parents | a run a trial | read back |",
            "| --- | --- | --- | --- |",
            *said,
            "",
            f"With {packages}.",
            "",
        ]
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "not installed"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=ROOT / "tests" / "report" / "digits")
    parser.add_argument("--trials", type=int, help="compare so many alone")
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
