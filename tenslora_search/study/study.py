"""Study: many trials as pure decisions: what to propose, who climbs, what to train next. It knows
neither Ray nor torch.

`trials.jsonl` is the truth: a Study on an existing folder replays it and goes on. Optuna's study
beside it shows the search in optuna-dashboard: a trial there is running until it is complete,
failed, or, at the end, left paused ("pruned"). One that goes on after all, in a search taken
further, ends there as a second one. The sampler proposes in view of a study in memory that knows
more: every trial's score at the last rung it has reached.
"""

import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tenslora_search.report.pareto import front
from tenslora_search.runs.events import JOURNAL_VERSION
from tenslora_search.runs.journal import Event, Journal, mend
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialResult, TrialSpec
from tenslora_search.study.pruners import PRUNERS, Standing
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import Choice, SearchSpace

State = Literal["waiting", "running", "reached", "paused", "complete", "failed"]
MOST_RETRIES = 1
"""A segment that cannot be run gives its trials back this often before they fail."""

MOST_NUDGES = 300
"""A proposal that repeats another is moved, farther each time and beyond 42 anywhere; then the
space is used up.
"""


@dataclass
class Record:
    """A trial so far: `waiting` for its next rung, for which it is cleared; `running`; a rung
    `reached` but not judged; ...

    `step` is the last one it is trained to.
    """

    number: int
    spec: TrialSpec
    point: Mapping[str, Any]
    """of the space, which the spec was made of"""
    state: State = "waiting"
    step: int = 0
    curve: dict[int, float] = field(default_factory=dict)
    """score on select by step"""
    loss: float | None = None
    seconds: float = 0.0
    reason: str | None = None
    file: str | None = None
    """the paused state, relative to the run folder"""
    retries: int = 0

    @property
    def n_params(self) -> int:
        return self.spec.adapter.n_params

    @property
    def score(self) -> float | None:
        return self.curve.get(self.step)


@dataclass(frozen=True, slots=True)
class Work:
    """Trials on one rung, to be trained to the next; `states` are relative to the run folder."""

    id: str
    numbers: tuple[int, ...]
    specs: tuple[TrialSpec, ...]
    states: tuple[str | None, ...]
    from_step: int
    to_step: int


class Study:
    """Proposes `n_trials` trials from a space and takes them up the rungs (cumulative steps, eta
    apart).

    `objective` is "front" (score and log10 parameters) or "score". The first LoRA, which has the
    whole budget, always climbs.
    """

    def __init__(
        self,
        space: SearchSpace,
        folder: Path,
        *,
        n_trials: int,
        rungs: Sequence[int],
        eta: int = 3,
        sampler: str = "tpe",
        pruner: str = "front",
        objective: str = "front",
        seed: int = 0,
        listeners: Sequence[Callable[[Event], object]] = (),
    ) -> None:
        self.space, self.n_trials, self.rungs, self.objective, self.seed = (
            space,
            n_trials,
            tuple(rungs),
            objective,
            seed,
        )
        self.journal = Journal(folder / "trials.jsonl", listeners)
        self._judge = PRUNERS[pruner](eta, len(self.rungs))
        self._stopped = self._exhausted = False
        self._n_segments = 0
        events = self.journal.read()
        self.records: dict[int, Record] = {}
        for event in events:
            self._replay(event)
        for record in self.records.values():
            if not space.holds(record.point):
                raise QuestionError(
                    f"space {space.name} has changed since {folder} was begun: it no longer holds "
                    f"its trial {record.number}. "
                    "Choose another --out, or --force."
                )
        self._keys = {space.key(record.spec) for record in self.records.values()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        self._distributions = {name: _distribution(one) for name, one in space.searched.items()}
        drawn = _mixed(seed, len(self.records))
        self._random, self._sampler = random.Random(drawn), SAMPLERS[sampler](drawn)
        self._seeds = {space.key(space.trial(point, 0)): point for point in space.seeds()}
        self._seen: optuna.Study | None = None
        self._optuna = self._open(folder / "study.journal")
        if not events:
            self.journal.append({"event": "journal", "version": JOURNAL_VERSION})
        self._finish_judging()
        self._reconcile()

    @property
    def done(self) -> bool:
        """Whether nothing is left to train, and nothing is running."""
        return not self._running and (self._stopped or not (self._waiting or self._proposals_left))

    @property
    def exhausted(self) -> bool:
        """Whether the space held fewer configurations than trials were asked for."""
        return self._exhausted

    def next_segment(self, limit: int, *, fresh: bool = True) -> Work | None:
        """Up to `limit` trials to train next; None while running work has to come back first, or
        nothing is left.

        The highest rung with a full pack goes first, then new trials, then what is there. Without
        `fresh` no trial is begun any more: those that wait are taken to the top, the highest first.
        """
        if self._stopped:
            return None
        groups = self._waiting
        full = [rung for rung, members in groups.items() if len(members) >= limit and rung >= 0]
        if full:
            return self._start(max(full), groups[max(full)][:limit])
        if not fresh:
            return self._start(max(groups), groups[max(groups)][:limit]) if groups else None
        begun = groups.get(-1, [])
        while len(begun) < limit and (record := self._propose()):
            begun.append(record)
        if begun:
            return self._start(-1, begun[:limit])
        if groups:
            rung = max(groups, key=lambda rung: (len(groups[rung]), rung))
            return self._start(rung, groups[rung])
        return None

    def record(
        self,
        work: Work,
        results: Sequence[TrialResult],
        states: Mapping[int, str | None],
        seconds: float,
    ) -> None:
        """Takes down what a segment gave; judges everyone on its rung.

        `states`: files relative to the run folder; None for a trial whose weights are kept
        elsewhere.
        """
        self._seen = None
        events: list[dict[str, Any]] = []
        ended: list[Record] = []
        for result in results:
            record = self.records[result.number]
            bad = result.score is None or not math.isfinite(result.score)
            if bad or (result.loss is not None and not math.isfinite(result.loss)):
                reason = result.reason or "its score is not finite"
                about = {"number": result.number, "step": result.step, "seconds": result.seconds}
                events.append({"event": "failed", **about, "reason": reason})
                ended.append(record)
                continue
            rung = {
                name: getattr(result, name)
                for name in ("number", "step", "score", "loss", "seconds", "peak_memory_mb")
            }
            events.append({"event": "rung", **rung, "state": states[result.number]})
            if result.step == self.rungs[-1]:
                events.append(
                    {
                        "event": "complete",
                        "number": result.number,
                        "step": result.step,
                        "score": result.score,
                    }
                )
                ended.append(record)
        steps = {"from_step": work.from_step, "to_step": work.to_step, "seconds": seconds}
        events.append({"event": "segment", "id": work.id, "numbers": list(work.numbers), **steps})
        self._write(events)
        if work.to_step != self.rungs[-1]:
            self._climb(self.rungs.index(work.to_step))
        for record in ended:
            self._tell(record)

    def go_on(self, number: int) -> Work | None:
        """The next rung of one trial, for whoever trains it alone; None if it is not cleared for
        it.
        """
        record = self.records[number]
        return self._start(self._rung(record), [record]) if record.state == "waiting" else None

    def give_back(self, work: Work) -> None:
        """The work was not done and may be handed out again."""
        for number in work.numbers:
            self.records[number].state = "waiting"

    def fail(self, work: Work, reason: str) -> None:
        """The work cannot be done: its trials are given back once, then they have failed."""
        self.give_back(work)
        for record in (self.records[number] for number in work.numbers):
            record.retries += 1
            if record.retries > MOST_RETRIES:
                self._write(
                    [
                        {
                            "event": "failed",
                            "number": record.number,
                            "step": record.step,
                            "reason": reason,
                        }
                    ]
                )
                self._tell(record)

    def stop(self) -> None:
        """No more segments: the time is used up, or the user wants to see what there is."""
        self._stopped = self._stopped or not self.done

    def close(self) -> None:
        """At the end of a search that was not stopped early: Optuna hears that what is paused will
        not go on.
        """
        if self.done and not self._stopped:
            for record in self.records.values():
                self._tell(record)

    def front(self) -> list[int]:
        """Complete trials that no other beats in both score and parameters, best score first."""
        return [one.number for one in front(self.records.values())]

    @property
    def _running(self) -> bool:
        return any(record.state in ("running", "reached") for record in self.records.values())

    @property
    def _waiting(self) -> dict[int, list[Record]]:
        """Trials cleared for their next rung, by the rung they stand on (-1: untrained)."""
        groups: dict[int, list[Record]] = {}
        for record in self.records.values():
            if record.state == "waiting":
                groups.setdefault(self._rung(record), []).append(record)
        return groups

    @property
    def _proposals_left(self) -> bool:
        return len(self.records) < self.n_trials and not self._exhausted

    @property
    def _reference(self) -> int:
        """The first LoRA, which always climbs: every report compares with it."""
        return min(
            (one.number for one in self.records.values() if one.spec.adapter.method == "LoRA"),
            default=-1,
        )

    def _rung(self, record: Record) -> int:
        return self.rungs.index(record.step) if record.step else -1

    def _start(self, rung: int, members: Sequence[Record]) -> Work:
        for record in members:
            record.state = "running"
        self._n_segments += 1
        return Work(
            id=f"segment-{self._n_segments:05d}",
            numbers=tuple(record.number for record in members),
            specs=tuple(record.spec for record in members),
            states=tuple(record.file for record in members),
            from_step=self.rungs[rung] if rung >= 0 else 0,
            to_step=self.rungs[rung + 1],
        )

    def _propose(self) -> Record | None:
        """A new trial, unlike all before; None if enough are proposed, or the space holds no
        other."""
        if not self._proposals_left:
            return None
        number = len(self.records)
        point = self._seed() or self._sampled()
        spec = self.space.trial(point, self.seed + number)
        n_nudges = 0
        while self.space.key(spec) in self._keys:
            if n_nudges == MOST_NUDGES:
                self._exhausted = True
                return None
            point = self.space.nudged(point, self._random, reach=0.02 * 1.1**n_nudges)
            spec = self.space.trial(point, self.seed + number)
            n_nudges += 1
        adapter = spec.adapter
        about = {
            name: getattr(adapter, name) for name in ("n_params", "construction", "decomposition")
        }
        about["method"] = spec.method
        about["ranks"] = list(adapter.ranks)
        attributes = {"number": number, **about, "learning_rate": spec.learning_rate}
        self._optuna.add_trial(self._as_trial(point, TrialState.RUNNING, user_attrs=attributes))
        event = {"event": "proposed", "number": number, "point": point, "spec": spec.to_json()}
        self._write([{**event, **about}])
        self._keys.add(self.space.key(spec))
        return self.records[number]

    def _seed(self) -> dict[str, Any] | None:
        """The first known method that is not proposed yet; None if they are, or make up half of all
        trials.
        """
        left = [point for key, point in self._seeds.items() if key not in self._keys]
        return (
            left[0] if left and len(self._seeds) - len(left) < max(1, self.n_trials // 2) else None
        )

    def _sampled(self) -> dict[str, Any]:
        """A point by the sampler; after each segment it looks anew at what all trials have
        reached."""
        if self._seen is None:
            self._seen = optuna.create_study(
                sampler=self._sampler, directions=self._optuna.directions
            )
            for record in self.records.values():
                if record.state == "failed":
                    trial = self._as_trial(record.point, TrialState.FAIL)
                elif record.score is None:
                    trial = self._as_trial(record.point, TrialState.RUNNING)
                else:
                    trial = self._as_trial(
                        record.point, TrialState.COMPLETE, values=self._values(record)
                    )
                self._seen.add_trial(trial)
        return self._seen.ask(self._distributions).params

    def _as_trial(
        self, point: Mapping[str, Any], state: TrialState, **more: Any
    ) -> optuna.trial.FrozenTrial:
        return create_trial(
            params=dict(point), distributions=self._distributions, state=state, **more
        )

    def _values(self, record: Record) -> list[float]:
        return [float(record.score or 0.0), math.log10(record.n_params)][
            : len(self._optuna.directions)
        ]

    def _climb(self, rung: int) -> None:
        """Asks the pruner about all that stand on a rung and are not on their way."""
        standings = [
            Standing(
                one.number,
                one.n_params,
                tuple(one.curve[step] for step in sorted(one.curve)),
                one.state == "complete",
            )
            for one in self.records.values()
            if one.curve and one.state != "failed"
        ]
        kept = self._judge(standings, rung) | {self._reference}
        events = []
        for one in self.records.values():
            if one.step == self.rungs[rung] and one.state in ("reached", "paused"):
                if one.number in kept:
                    events.append({"event": "promoted", "number": one.number, "step": one.step})
                elif one.state == "reached":
                    events.append({"event": "paused", "number": one.number, "step": one.step})
        self._write(events)

    def _finish_judging(self) -> None:
        """After a crash between a segment's rows and their judgement."""
        reached = sorted({one.step for one in self.records.values() if one.state == "reached"})
        for step in reached:
            if step == self.rungs[-1]:
                done = [
                    one
                    for one in self.records.values()
                    if one.state == "reached" and one.step == step
                ]
                self._write(
                    [
                        {
                            "event": "complete",
                            "number": one.number,
                            "step": step,
                            "score": one.score,
                        }
                        for one in done
                    ]
                )
            else:
                self._climb(self.rungs.index(step))

    def _write(self, events: Sequence[Mapping[str, Any]]) -> None:
        """To the disk first, then into memory, by the way a replay takes."""
        if events:
            self.journal.append(*events)
        for event in events:
            self._replay(event)

    def _replay(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "proposed":
            number = event["number"]
            self.records[number] = Record(
                number, TrialSpec.from_json(event["spec"]), event["point"]
            )
            return
        if kind == "segment":
            self._n_segments = max(self._n_segments, int(event["id"].rpartition("-")[2]))
        if kind not in ("rung", "promoted", "paused", "complete", "failed"):
            return
        record = self.records[event["number"]]
        record.seconds += event.get("seconds", 0.0)
        if kind == "rung":
            record.step, record.loss, record.file = event["step"], event["loss"], event["state"]
            record.curve[event["step"]] = event["score"]
            record.state = "reached"
        elif kind == "promoted":
            record.state = "waiting"
        elif kind == "failed":
            record.state, record.reason = "failed", event["reason"]
        else:
            record.state = kind

    def _open(self, path: Path) -> optuna.Study:
        both = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
        mend(path)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="tenslora-search",
            directions=both if self.objective == "front" else both[:1],
            load_if_exists=True,
        )
        if not study.trials and self.objective == "front":
            study.set_metric_names(["score", "log10 parameters"])
        return study

    def _reconcile(self) -> None:
        """After a crash: Optuna hears what it missed; what it proposed in vain no longer counts as
        running.
        """
        shown = {trial.number for number, trial in self._shown.items() if number in self.records}
        for trial in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in shown:
                self._optuna.tell(trial.number, state=TrialState.FAIL)
        for record in self.records.values():
            if record.state in ("complete", "failed"):
                self._tell(record)

    @property
    def _shown(self) -> dict[int, optuna.trial.FrozenTrial]:
        """Optuna's trial of each of ours, the last where it has several."""
        return {
            trial.user_attrs.get("number", -1): trial
            for trial in self._optuna.get_trials(deepcopy=False)
        }

    def _tell(self, record: Record) -> None:
        """How a trial ended; of one that was told as pruned and went on, as another trial: Optuna's
        do not change any more.
        """
        trial = self._shown.get(record.number)
        if trial is None:
            return
        state = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}.get(
            record.state, TrialState.PRUNED
        )
        values = self._values(record) if state == TrialState.COMPLETE else None
        if not trial.state.is_finished():
            self._optuna.tell(trial.number, values, state=state)
        elif trial.state == TrialState.PRUNED != state:
            self._optuna.add_trial(
                self._as_trial(record.point, state, values=values, user_attrs=trial.user_attrs)
            )


def _mixed(seed: int, n_trials: int) -> int:
    """A seed for a search that already has so many trials: with its first one again it would
    propose the same again.
    """
    return random.Random(f"{seed} {n_trials}").getrandbits(32) if n_trials else seed


def _distribution(one: Any) -> BaseDistribution:
    return (
        CategoricalDistribution(one.values)
        if isinstance(one, Choice)
        else FloatDistribution(one.low, one.high, log=one.log)
    )
