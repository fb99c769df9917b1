"""search(): from a question to a front. The one place where all parts meet."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.api.checks import check_options, checked_folder
from tenslora_search.api.finish import Interrupted, finish
from tenslora_search.api.last_words import LastWords
from tenslora_search.api.results import Run
from tenslora_search.api.signals import Signals
from tenslora_search.api.trackers import track
from tenslora_search.engine.asking import Asking
from tenslora_search.engine.executors import EXECUTORS, Serve
from tenslora_search.engine.progress import Progress
from tenslora_search.engine.serving import Serving
from tenslora_search.engine.source import Place
from tenslora_search.hub.turns import TURN
from tenslora_search.runs.config import write_config
from tenslora_search.runs.folder import default_folder, disk_errors, run_folder
from tenslora_search.runs.provenance import COMMAND, hardware, versions
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.budget import parse_pack, parse_seconds
from tenslora_search.spec.paths import typed
from tenslora_search.spec.plugins import plugins as plugins_of_now
from tenslora_search.spec.sites import projections_of
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS
from tenslora_search.study.asked import space_of
from tenslora_search.study.earlier import check_earlier
from tenslora_search.study.measured import geometries_of
from tenslora_search.study.space import SearchSpace

if TYPE_CHECKING:
    from tenslora_search.data.task import TaskData

LOGGER = logging.getLogger("tenslora_search")


@checked(options=Question)
def search(
    task: str | None = None, *, budget: str | int, data: str | Path | None = None,
    model: str | Path | None = None, space: str | Path | None = None, trials: int | None = None,
    time_limit: float | str | None = None, sampler: str | None = None, pruner: str | None = None,
    objective: str | None = None, pack: int | str | None = None, executor: str = "ray",
    ray_address: str | None = None, gpus_per_worker: float | None = None,
    retest: int | None = None, seed: int | None = None, out: str | Path | None = None,
    force: bool = False, progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Any] = (), plugins: Sequence[str | Path] = (), track: Sequence[str] = (),
    **options: Any,
) -> Run:  # fmt: skip
    """Searches for the best adapters within a budget of trainable parameters; returns the run.

    `methods`: names of `list methods`, or "all", which narrow the space. A quarter to half of
    `time_limit` (seconds, or "2h") is kept for the retest; `pack` trials train side by side (None:
    what a GPU takes; 8 on a CPU); in `out` the same question goes on. `callbacks` are called with
    each event of a trial that is written down (a line of trials.jsonl); what they raise ends the
    search; Ray Tune's hear of segments. `plugins`: files that add entries. `track`: mlflow, wandb
    or tensorboard. More `options`: those of `Question`. Searches in threads take turns.
    `QuestionError` if wrong; `NothingFitsError` if nothing fits.

    >>> search("digits", budget="4k", **quick).proof  # (configurations, those over the budget)
    (2, 0)
    """
    began = time.monotonic()
    checked_folder(out, plugins, force=force)
    limit = None if time_limit is None else parse_seconds(time_limit)
    how = How(
        executor, parse_pack(pack), limit, ray_address, gpus_per_worker, plugins, track, callbacks,
        out, force, progress, began,
    )  # fmt: skip
    asked = Question.of(
        budget=budget, task=task, data=data, model=model, space=space, trials=trials,
        sampler=sampler, pruner=pruner, objective=objective, retest=retest, seed=seed, **options,
    )  # fmt: skip
    return _begun(asked, how)


@dataclass(frozen=True, slots=True)
class How:
    """What a search is told besides its question, as `search` takes it."""

    executor: str
    pack: int | None
    time_limit: float | None
    ray_address: str | None
    gpus_per_worker: float | None
    plugins: Sequence[str | Path]
    track: Sequence[str]
    callbacks: Sequence[Any]
    out: str | Path | None
    force: bool
    progress: Callable[[Progress], None] | None
    began: float

    @property
    def said(self) -> dict[str, Any]:
        """What search.toml holds of it."""
        names = ("executor", "ray_address", "gpus_per_worker", "pack", "time_limit")
        plugins = [str(Path(one).resolve()) for one in self.plugins]
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "plugins": plugins, "track": list(self.track)}


def _begun(asked: Question, how: How) -> Run:
    """Checks what was asked, searches, and tells the trackers."""
    check_options(
        asked, executor=how.executor, gpus_per_worker=how.gpus_per_worker,
        time_limit=how.time_limit, track=how.track,
    )  # fmt: skip
    folder = typed(how.out) if how.out is not None else default_folder(asked)
    listeners, others = _apart(how.callbacks, how.executor)
    last_words = LastWords()
    place = Place(folder, how.ray_address, how.gpus_per_worker, others, last_words)
    run = _searched(
        asked, folder, EXECUTORS[how.executor](place), last_words, force=how.force,
        said=how.said, listeners=listeners, began=how.began, progress=how.progress,
        pack=how.pack, time_limit=how.time_limit,
    )  # fmt: skip
    for name in how.track:
        track(name, run)
    return run


def _apart(callbacks: Sequence[Any], executor: str) -> tuple[list[Any], tuple[Any, ...]]:
    """Functions of an event, and Ray Tune's own; `QuestionError` for those without Ray."""
    others = tuple(one for one in callbacks if not callable(one))
    if executor == "inline" and others:
        raise QuestionError(
            f"{type(others[0]).__name__} is no function of an event; callbacks of "
            'Ray Tune need executor="ray".'
        )
    return [one for one in callbacks if callable(one)], others


def _searched(
    asked: Question,
    folder: Path,
    executor: AbstractContextManager[Serve],
    last_words: LastWords,
    *,
    force: bool,
    said: Mapping[str, Any],
    **serving: Any,
) -> Run:
    """Opens the folder, serves what is to be done until it is done, and finishes."""
    with ExitStack() as context:
        make_ready = context.enter_context(run_folder(folder, asked, force=force))
        context.enter_context(disk_errors(folder))
        signals = context.enter_context(Signals())
        serve = context.enter_context(executor)
        signals.listen()  # again: Ray has a handler of its own
        limit, began = serving["time_limit"], serving["began"]
        left = math.inf if limit is None else limit - (time.monotonic() - began)
        with signals.within(left):
            with TURN:
                run_file = _prepared(folder, asked, make_ready, force=force)
            write_config(folder, asked, said)
            asking = Asking(folder, asked, run_file, _needs(asked, run_file))
            if not asking.done:
                serve(asking)
        source = Serving(folder, asked, asking.run_file, **serving)
        signals.stop = source.stop
        last_words.signals, last_words.source = signals, source
        serve(source)
        run = finish(source)
        if signals.received is not None:
            raise Interrupted(run, signals.received)
        return run


def _check_unchanged(folder: Path, before: RunFile, now: RunFile) -> None:
    """`QuestionError` if data or model hold something else than when the search was begun, or than
    run.json says.
    """
    for what in ("data", "model"):
        was = getattr(before, f"{what}_digest")
        if was and was != getattr(now, f"{what}_digest"):
            raise QuestionError(
                f"the {what} of {folder} has changed since it was begun; choose another --out, "
                "or --force."
            )
    for what in ("goal", "labels"):  # what model and data say, and they are as they were
        said, found = getattr(before, what), getattr(now, what)
        if said != found:
            raise QuestionError(
                f"{folder / 'run.json'} is damaged: {what} {str(said)[:60]!r} instead of "
                f"{str(found)[:60]!r} as the data have it; choose another --out, or --force."
            )


def _needs(question: Question, run_file: RunFile) -> tuple[str, ...]:
    """The probes that the allocators of the space take their numbers from."""
    return space_of(question, geometries_of(run_file), run_file.budget).needs


def _prepared(
    folder: Path, question: Question, make_ready: Callable[[], None], *, force: bool
) -> RunFile:
    """Loads model and data once in this process, so that all that is wrong with them shows at once,
    and before an earlier run is taken away; writes run.json.
    """
    from tenslora_search.data.task import load_task

    _check_length(question)
    data = load_task(**question.task_options, model=question.model)
    _check_measures(question, data.goal.name)
    run = _run_file(question, data, None if force else folder)
    make_ready()
    if (folder / "run.json").exists():
        before = RunFile.read(folder)
        _check_unchanged(folder, before, run)
        run = replace(before, question=question)
    run.write(folder)
    if run.absence:
        LOGGER.warning("%s", run.absence)
    if data.unused:
        inputs = " + ".join(name for role, name in data.columns.items() if role != "label")
        LOGGER.warning(
            "reads %s; unused: %s (--column ROLE=NAME reads others)", inputs, ", ".join(data.unused)
        )
    return run


def _check_length(question: Question) -> None:
    """Of texts: a usual length, which nobody typed, is cut where the model ends."""
    from tenslora_search.data.processors import check_length

    of_task = TASKS[question.task].max_length if question.task else None
    usual = next(one.default for one in fields(Question) if one.name == "max_length")
    if question.max_length != (of_task or usual):
        check_length(question.model, question.max_length)


def _check_measures(question: Question, goal: str) -> None:
    """What the retest will measure can be: shows before anything is trained."""
    from tenslora_search.data.answers import ANSWERS
    from tenslora_search.data.goals import GOALS
    from tenslora_search.data.retain import load_retained

    for name in TASKS[question.task].answers if question.task and question.retest else ():
        _ = ANSWERS[name]("a", "a")
    if question.retain and not GOALS[goal].writes:
        raise QuestionError(
            f"--retain measures a language model's loss on text; goal {goal} reads a task head."
        )
    if question.retain:
        _ = load_retained(question.retain, question.model, question.max_length)


def _run_file(question: Question, data: "TaskData", folder: Path | None) -> RunFile:
    """What the search rests on; of a wrong space, or one in which nothing fits, there is none, nor
    of earlier runs that cannot be read and that the search in `folder`, if it goes on, lacks.
    """
    import torch

    from tenslora_search.hub.places import model_digest

    space, head_params = _space_on_model(question, data)
    check_earlier(question, space, folder)
    return RunFile(
        question=question,
        command=COMMAND.get(),
        versions=versions(),
        data_digest=data.digest,
        model_digest=model_digest(question.model),
        head_params=head_params,
        budget=space.budget,
        task=data.name,
        model=question.model,
        metric=data.goal.metric,
        labels=tuple(data.goal.names),
        goal=data.goal.name,
        columns=dict(data.columns),
        unused_columns=tuple(data.unused),
        rows={"fit": len(data.fit), "select": len(data.select), "report": len(data.report)},
        grouped=dict(data.grouped),
        absent=dict(data.absent),
        geometry=space.geometry,
        geometries=dict(space.geometries),
        rungs=question.rungs,
        hardware=hardware(
            [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        ),
        plugins=plugins_of_now(),
    )


def _space_on_model(question: Question, data: "TaskData") -> tuple[SearchSpace, int]:
    """The space on the model as it is, and the parameters of the task head."""
    import torch

    from tenslora_search.backbone.load import load_backbone
    from tenslora_search.backbone.readout import StackedHeads
    from tenslora_search.nn.places import geometry_of

    model, anew = load_backbone(question.model, data.goal)
    is_needed = data.goal.n_outputs > 0
    head_params = StackedHeads(model, [torch.Generator()], anew, is_needed=is_needed).n_params
    model_type = getattr(model.config, "model_type", None)
    space = space_of(
        question,
        lambda sites: geometry_of(model, projections_of(sites, model_type)),
        question.adapter_budget(head_params),
    )
    return space, head_params
