"""ask_tell(): proposals for a training loop of your own, under the same budget, rungs, study and
journal as a search.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.api.checks import checked_folder
from tenslora_search.api.results import Run
from tenslora_search.runs.folder import run_folder
from tenslora_search.runs.provenance import versions
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import Segment, TrialResult
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.paths import typed
from tenslora_search.spec.plugins import plugins as plugins_of_now
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import PLAIN, TrialSpec
from tenslora_search.study.asked import space_of
from tenslora_search.study.earlier import check_earlier
from tenslora_search.study.pruners import PRUNERS
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.study import Study

if TYPE_CHECKING:
    import pandas

LOGGER = logging.getLogger("tenslora_search")
OWN = "own"
"""What a run file calls a model, task and score that only the user's loop knows."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A proposal to train: `attach(model, trial.spec.adapter, seeds=trial.spec.seed)`, with the
    spec's learning rates.

    >>> with ask_tell(budget="20k", geometry=geometry, out=folder, max_steps=240) as study:
    ...     trial = study.ask()
    >>> trial.number, trial.steps, trial.spec.adapter.n_params <= 20_000
    (0, (27, 80, 240), True)
    """

    number: int
    spec: TrialSpec
    step: int
    """0; or of one that was stopped and is to go on after all: what it is trained to, if you kept
    its weights
    """
    steps: tuple[int, ...]
    """where it is to be reported next; the last is the end"""


@checked(options=Question)
def ask_tell(
    *,
    budget: str | int,
    out: str | Path,
    model: str | Path | None = None,
    geometry: Geometry | None = None,
    force: bool = False,
    plugins: Sequence[str | Path] = (),
    **options: Any,
) -> "AskTell":
    """A search whose trials you train yourself; in an `out` that holds the same one it goes on.

    Sites are those of `model` (a name, folder or hub id), or a `geometry` (`geometry_of(model)`,
    `Geometry.attention(...)`). `options`: trials, space, methods, min_budget, max_rank, sampler,
    pruner, objective, seed, warm_start, and max_steps and eta, which make the rungs: trials are
    reported at some steps before max_steps and stopped early; without it each has its last alone.
    Scores are on a scale like accuracy's, 0 to 1, higher is better: what the report calls alike or
    within the noise is measured on it. `plugins`: files that add entries (docs/plugins.md).
    `QuestionError` for a wrong question; `NothingFitsError` if no configuration is within the
    budget.

    >>> study = ask_tell(budget="2k", geometry=geometry, out=folder, trials=2)
    >>> study.tell(study.ask(), score=0.5)
    >>> study.close()
    """
    if (model is None) == (geometry is None):
        raise QuestionError(
            "ask_tell takes model= (a name or a folder) or geometry= (such as "
            "geometry_of(model)), one of the two."
        )
    checked_folder(out, plugins, force=force)
    question = Question.of_own_loop(budget=budget, model=model or OWN, **options)
    _ = SAMPLERS[question.sampler], PRUNERS[question.pruner]  # before anything is written
    space = space_of(question, geometry or question.geometry, question.budget)
    folder = typed(out)
    _check_space(space, question, None if force else folder)
    with ExitStack() as lock:
        lock.enter_context(run_folder(folder, question, force=force))()
        _write_run_file(folder, question, space.geometry)
        return AskTell(folder, Study.of(question, space, folder), lock.pop_all())


def _check_space(space: SearchSpace, question: Question, out: Path | None) -> None:
    """`QuestionError` for one of which something is done by our own training alone, or that earlier
    runs, which a new `out` needs, are not of.
    """
    check_earlier(question, space, out)
    if space.needs:
        raise QuestionError(
            f"space {space.name}: an allocator or the prior of it needs the probe "
            f"{space.needs[0]}, which a training loop of your own cannot answer; use level or "
            "ramp, name methods without, or leave gradient out of [prior]."
        )


def _own_training(spec: TrialSpec) -> str:
    """What our own training does for such a trial beside plain steps; "" for nothing."""
    if spec.rule != PLAIN:
        return f"rule {spec.rule}"
    is_plain = spec.adapter.networks[0].form.rule is None
    return "" if is_plain else f"decomposition {spec.adapter.decomposition}"


class AskTell:
    """Hands out trials and takes their scores, higher is better. It holds its folder until
    `close()`, or as a context.

    >>> with ask_tell(budget="2k", geometry=geometry, out=folder, trials=2) as study:
    ...     while trial := study.ask():
    ...         study.tell(trial, score=trial.spec.adapter.n_params / 2_000)
    >>> study.done, len(study.run.trials())
    (True, 2)
    """

    def __init__(self, folder: Path, study: Study, lock: ExitStack) -> None:
        self.run = Run(folder)
        self._study, self._lock = study, lock
        self._asked: dict[int, tuple[Segment, float]] = {}
        self._said: set[str] = set()

    def __enter__(self) -> "AskTell":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def done(self) -> bool:
        """Whether nothing is left to train, and nothing is being trained."""
        return self._study.done

    def ask(self) -> Trial | None:
        """The next trial to train; None when all are trained (`done`), or when those that are asked
        for must be told first.
        """
        work = self._study.next_segment(1)
        if work is None:
            return None
        self._asked[work.numbers[0]] = work, time.monotonic()
        own = _own_training(work.entrants[0].spec)
        if own and own not in self._said:
            self._said.add(own)
            LOGGER.warning("%s is applied by our own training; in a loop of yours, do it", own)
        later = tuple(step for step in self._study.rungs if step > work.from_step)
        return Trial(work.numbers[0], work.entrants[0].spec, work.from_step, later)

    @checked()
    def report(self, trial: Trial, step: int, score: float) -> bool:
        """Takes down the score at the next of `trial.steps`; whether to train on. False at the end,
        too.
        """
        work = self._work(trial)
        if step != work.to_step:
            raise QuestionError(
                f"trial {trial.number} is to be reported at step {work.to_step} next; got step "
                f"{step}."
            )
        self._record(trial, float(score))
        work = self._study.go_on(trial.number)
        if work is not None:
            self._asked[trial.number] = work, time.monotonic()
        return work is not None

    @checked()
    def tell(self, trial: Trial, score: float | None = None, *, error: str | None = None) -> None:
        """The score at the end, or the `error` for which there will be none."""
        work, last = self._work(trial), self._study.rungs[-1]
        if (score is None) == (error is None):
            raise QuestionError(
                f"tell trial {trial.number} its score or its error, one of the two."
            )
        if error is None and work.to_step != last:
            raise QuestionError(
                f"trial {trial.number} is to be reported at step {work.to_step} first; tell() "
                f"takes the score at step {last}."
            )
        self._record(trial, None if score is None else float(score), error)

    def front(self) -> "pandas.DataFrame":
        """The non-dominated complete trials, best score first; `run` has the rest: trials(),
        best(), report().
        """
        return self.run.front()

    def close(self) -> None:
        """Lets go of the folder. What is stopped or was never told goes on when the same is asked
        again.
        """
        self._study.close()
        self._lock.close()

    def _work(self, trial: Trial) -> Segment:
        if trial.number not in self._asked:
            record = self._study.records.get(trial.number)
            state = record.state if record else "unknown"
            raise QuestionError(
                f"trial {trial.number} is not being trained: it is {state}; ask() says what is "
                "next."
            )
        return self._asked[trial.number][0]

    def _record(self, trial: Trial, score: float | None, error: str | None = None) -> None:
        work, began = self._asked.pop(trial.number)
        seconds = time.monotonic() - began
        result = TrialResult(trial.number, work.to_step, score, None, error, seconds)
        self._study.record(work, [result], {trial.number: None}, seconds)


def _write_run_file(folder: Path, question: Question, geometry: Geometry) -> None:
    if (folder / "run.json").exists():
        run = RunFile.read(folder)
        if run.geometry != geometry:
            raise QuestionError(
                f"{folder} holds a search on another geometry; choose another out, or force."
            )
    else:
        run = RunFile(
            question=question,
            command=None,
            versions=versions(),
            data_digest=None,
            head_params=0,
            budget=question.budget,
            task=OWN,
            model=question.model,
            metric="score",
            labels=(),
            goal=OWN,
            rows={},
            geometry=geometry,
            rungs=question.rungs,
            plugins=plugins_of_now(),
        )
    replace(run, question=question).write(folder)
