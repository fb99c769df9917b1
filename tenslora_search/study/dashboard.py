"""Dashboard: the search as optuna-dashboard shows it, in study.journal beside the run's own files.

It is derived: whatever is missing, cut, broken or of another search is made anew from the records.
A trial there is running until it is complete, failed, or, at the end, left paused ("pruned"). One
that goes on after all, in a search taken further, ends there as a second one.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from tenslora_search.runs.journal import mend
from tenslora_search.runs.replay import Record
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.samplers import directions, distributions, quieten, values
from tenslora_search.study.space import SearchSpace

NAME = "tenslora-search"


class Dashboard:
    """Mirrors the records of a study. Who makes one holds the folder's lock."""

    def __init__(
        self, path: Path, space: SearchSpace, objective: str, records: Mapping[int, Record]
    ) -> None:
        quieten()
        self.path, self.objective = path, objective
        self._kinds = distributions(space)
        for lock in path.parent.glob(f"{path.name}.lock*"):
            lock.unlink(missing_ok=True)  # of a search that was killed: Optuna would wait for it
        self.study = self._opened(records) or self._made_anew(records)
        trials = self.study.get_trials(deepcopy=False)
        self._shown = {one.user_attrs.get("number", -1): one for one in trials}
        """Optuna's trial of each of ours, the last where it has several"""
        self._n_shown = len(trials)
        self._reconcile(records)

    def proposed(self, record: Record) -> None:
        """A trial was proposed."""
        self._add(record.number, self._trial(record, TrialState.RUNNING, user_attrs=_about(record)))

    def ended(self, record: Record) -> None:
        """A trial is complete, has failed, or is left paused; of one that was told as pruned and
        went on, as another trial: Optuna's do not change any more.
        """
        trial = self._shown.get(record.number)
        if trial is None:
            return
        ends = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
        state = ends.get(record.state, TrialState.PRUNED)
        told = None
        if state == TrialState.COMPLETE:
            told = values(record.score or 0.0, record.n_params, self.objective)
        if not trial.state.is_finished():
            self._shown[record.number] = self.study.tell(trial.number, told, state=state)
        elif trial.state == TrialState.PRUNED != state:
            about = trial.user_attrs
            self._add(record.number, self._trial(record, state, values=told, user_attrs=about))

    def _add(self, number: int, trial: FrozenTrial) -> None:
        """As Optuna's next; to ask for all trials each time would take longer and longer."""
        self.study.add_trial(trial)
        trial.number = self._n_shown
        self._shown[number] = trial
        self._n_shown += 1

    def _opened(self, records: Mapping[int, Record]) -> optuna.Study | None:
        """The study of the file, if it is whole and tells of these records."""
        if not self.path.exists():
            return None
        with contextlib.suppress(QuestionError):
            mend(self.path)
        try:
            study = optuna.load_study(study_name=NAME, storage=self._storage())
            shown = {one.user_attrs.get("number"): one for one in study.trials}
        except Exception:  # whatever Optuna makes of a file that is not its own
            return None
        is_alike = study.directions == directions(self.objective) and all(
            number in shown and shown[number].params == dict(record.point)
            for number, record in records.items()
        )
        return study if is_alike else None

    def _made_anew(self, records: Mapping[int, Record]) -> optuna.Study:
        self.path.unlink(missing_ok=True)
        study = optuna.create_study(
            storage=self._storage(), study_name=NAME, directions=directions(self.objective)
        )
        if self.objective == "front":
            study.set_metric_names(["score", "log10 parameters"])
        running = [
            self._trial(record, TrialState.RUNNING, user_attrs=_about(record))
            for record in records.values()
        ]
        study.add_trials(running)
        return study

    def _storage(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.path)))

    def _reconcile(self, records: Mapping[int, Record]) -> None:
        """After a crash: Optuna hears what it missed; what it proposed in vain no longer counts as
        running.
        """
        shown = {trial.number for number, trial in self._shown.items() if number in records}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in shown:
                self.study.tell(trial.number, state=TrialState.FAIL)
        for record in records.values():
            if record.state in ("complete", "failed"):
                self.ended(record)

    def _trial(self, record: Record, state: TrialState, **more: Any) -> FrozenTrial:
        point = dict(record.point)
        return create_trial(params=point, distributions=self._kinds, state=state, **more)


def _about(record: Record) -> dict[str, Any]:
    one = record.proposed
    return {
        "number": one.number,
        "n_params": one.n_params,
        "method": one.method,
        "construction": one.construction,
        "decomposition": one.decomposition,
        "ranks": list(one.ranks),
        "learning_rate": record.spec.learning_rate,
    }
