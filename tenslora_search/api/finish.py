"""finish(): the end of a search, whole or interrupted: the report, then the adapters."""

from dataclasses import replace
from typing import Any

from tenslora_search.api.results import Run
from tenslora_search.engine.retest import MOST_RETESTED
from tenslora_search.engine.serving import Serving
from tenslora_search.report.pareto import front, leading
from tenslora_search.report.reading import read_run
from tenslora_search.runs.paths import inside
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.importance import importances


class Interrupted(Exception):
    """A signal came, and the report of what there is was written; `run` has it.

    >>> ended = Interrupted(load_run(run_folder), 2)
    >>> print(128 + ended.signal, ended.run.proof)  # the exit code of the command
    130 (2, 0)
    """

    def __init__(self, run: Run, signal: int) -> None:
        super().__init__(f"interrupted; the report of what there is: {run.folder / 'report.html'}")
        self.run, self.signal = run, signal


def finish(source: Serving) -> Run:
    """Writes the report and, unless the search was cut off, the adapters of what leads."""
    source.close()
    file = RunFile.read(source.folder)
    seconds = file.wall_seconds + source.seconds
    replace(file, wall_seconds=seconds, **_importances(source)).write(source.folder)
    run = Run(source.folder)
    run.report()
    if not source.interrupted:
        _export(run)
    return run


def _importances(source: Serving) -> dict[str, Any]:
    try:
        return importances(source.study.told.trials, source.space.searched)
    except Exception:  # whatever Optuna makes of unusual scores, the report is written without them
        return {}


def _export(run: Run) -> None:
    """What leads the front and all on it that were retested, for peft, or native where the update
    is dense; takes away the earlier exports of others.
    """
    from tenslora_search.export.target import remove_export
    from tenslora_search.export.trained import LoadedOnce

    record, adapters = read_run(run.folder), inside(run.folder, "adapters")
    retested = [one.number for one in front(record.rows) if one.n_retests]
    leaders = leading(record.rows, MOST_RETESTED, typical=record.typical_noise("select"))
    numbers = dict.fromkeys([*leaders, *retested])
    written, wrong = [], ""
    writer = Run(run.folder, load=LoadedOnce())
    for number in numbers:
        try:
            adapter = record.trials[number].proposed.trial_spec().adapter
            format = "peft" if adapter.is_low_rank else "native"
            to = inside(run.folder, f"adapters/{number}")
            written.append(writer.export(number, to, format))
        except QuestionError as error:
            wrong = wrong or str(error)
    for old in adapters.glob("[0-9]*"):
        if written and old.name not in map(str, numbers):
            remove_export(old, like=written[0])
    if wrong:
        raise QuestionError(f"{wrong} The report is written: {run.folder / 'report.html'}")
