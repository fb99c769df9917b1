"""TRACKERS: a run folder as runs of MLflow, W&B or TensorBoard: one a trial, under one parent."""

import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tenslora_search.runs.paths import inside
from tenslora_search.spec.table import QuestionError, Table

if TYPE_CHECKING:
    from tenslora_search.api.results import Run

LOGGER = logging.getLogger("tenslora_search")
Tracker = Callable[["Run"], str]


@dataclass(frozen=True, slots=True)
class Told:
    """A trial as a tracker is told of it."""

    name: str
    """trial 003"""
    settings: dict[str, Any]
    """what it is: method, ranks, parameters, rates; and its state"""
    curve: list[tuple[int, float]]
    """(step, select score)"""
    ends: dict[str, float]
    """numbers of the end; scores on select and on report have names of their own"""


def told(run: "Run") -> Iterator[Told]:
    """All trials of a run."""
    from tenslora_search.report.reading import read_run

    record = read_run(run.folder)
    curves = record.curves
    for row in record.rows:
        ends = {
            "select_score": row.score, "report_score": row.report_score,
            "report_std": row.report_std, "n_params": row.n_params, "seconds": row.seconds,
            "lora_rank": row.lora_rank, "extra_macs": row.extra_macs,
        }  # fmt: skip
        settings = {
            "method": row.method, "construction": row.construction, "ranks": row.ranks,
            "decomposition": row.decomposition, "n_params": row.n_params, "state": row.state,
            **row.settings,
        }  # fmt: skip
        known = {name: value for name, value in ends.items() if math.isfinite(value)}
        yield Told(f"trial {row.number:03}", settings, curves.get(row.number, []), known)


def question(run: "Run") -> dict[str, Any]:
    """What the parent is: the question that was asked."""
    return {name: one for name, one in asdict(run.file.question).items() if one is not None}


def needs(name: str) -> Callable[[Callable[[Any, "Run"], str]], Tracker]:
    """Gives a function the package that it sends with as its first argument; what it makes of it
    says the package's name too, so that a search knows before it begins whether it is there.
    """

    def given(send: Callable[[Any, "Run"], str]) -> Tracker:
        @wraps(send)
        def sent(run: "Run") -> str:
            return send(_imported(name), run)

        vars(sent)["package"] = name
        return sent

    return given


def track(name: str, run: "Run") -> str:
    """Sends a run; returns where to."""
    with _no_louder():
        return TRACKERS[name](run)


@contextmanager
def _no_louder() -> Iterator[None]:
    """Inside, nothing is logged below the level at which this package speaks: trackers, and what
    they stand on, tell of tables made and upgraded. What they print goes to stderr: stdout may be
    the result as JSON.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, LOGGER.getEffectiveLevel() - 1))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)


def check_tracker(name: str) -> None:
    """`QuestionError` for an unknown one, or one whose package is missing."""
    package = getattr(TRACKERS[name], "package", None)
    if package is not None and find_spec(package) is None:
        raise _missing(package)


@needs("mlflow")
def mlflow(package: Any, run: "Run") -> str:
    """MLflow, wherever MLFLOW_TRACKING_URI points; the report and front.csv as its artifacts."""
    package.set_experiment(f"tenslora-search {run.file.task}")
    with package.start_run(run_name=run.folder.resolve().name) as parent:
        package.log_params(question(run))
        for name in ("report.html", "front.csv", "search.toml"):
            if (run.folder / name).is_file():
                package.log_artifact(str(run.folder / name))
        for one in told(run):
            with package.start_run(run_name=one.name, nested=True):
                package.log_params(one.settings)
                for step, score in one.curve:
                    package.log_metric("select_score_by_step", score, step=step)
                package.log_metrics(one.ends)
    return f"mlflow: {parent.info.run_id} in {package.get_tracking_uri()}"


@needs("wandb")
def wandb(package: Any, run: "Run") -> str:
    """Weights & Biases: one group, a run a trial and one of the search; WANDB_MODE=offline keeps
    them in wandb/ until `wandb sync`.
    """
    about = {"project": "tenslora-search", "group": run.folder.resolve().name, "reinit": True}
    with package.init(**about, name="search", job_type="search", config=question(run)) as parent:
        columns = ["number", "method", "ranks", "n_params", "score", "report_score", "report_std"]
        front = run.front()[columns]
        parent.log({"front": package.Table(dataframe=front.astype(object).where(front.notna()))})
        place = str(parent.dir)
    for one in told(run):
        with package.init(**about, name=one.name, job_type="trial", config=one.settings) as trial:
            for step, score in one.curve:
                trial.log({"select_score_by_step": score}, step=step)
            trial.summary.update(one.ends)
    return f"wandb: group {about['group']}, {place}"


@needs("tensorboardX")
def tensorboard(package: Any, run: "Run") -> str:
    """TensorBoard, in tensorboard/ of the run folder: a run a trial, its settings as
    hyperparameters.
    """
    folder = inside(run.folder, "tensorboard")
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier state of this run
    from tensorboardX.summary import hparams

    for one in told(run):
        with package.SummaryWriter(
            str(folder / one.name.replace(" ", "-")), write_to_disk=True
        ) as file:
            for step, score in one.curve:
                file.add_scalar("select_score_by_step", score, step)
            plain = {name: _plain(value) for name, value in one.settings.items()}
            for part in hparams(plain, dict.fromkeys(one.ends, 0.0)):
                file.file_writer.add_summary(part)  # `add_hparams` would open the file once more
            for name, value in one.ends.items():
                file.add_scalar(name, value)
    return f"tensorboard: {folder}"


def _plain(value: object) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise _missing(name) from error


def _missing(name: str) -> QuestionError:
    return QuestionError(f"{name} is not installed; pip install {name}.")


TRACKERS: Table[Tracker] = Table(
    "tracker", {entry.__name__: entry for entry in (mlflow, wandb, tensorboard)}
)
"""Each says where the runs are."""
