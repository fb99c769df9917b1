"""Run: a run folder's results and adapters; read from its files, wherever and whenever it was made."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.search.question import read_run_file
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    import pandas


def load_run(folder: str | Path) -> "Run":
    """The run in a folder; `QuestionError` if there is none."""
    return Run(Path(folder))


class Run:
    """A run folder, read. Data frames have one row a trial (architecture: `number`, `state`, `method`, `n_params`, ...)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = read_run_file(folder)

    def trials(self) -> "pandas.DataFrame":
        """One row a trial, failed and paused ones too."""
        return self._record.trials

    def front(self) -> "pandas.DataFrame":
        """The non-dominated complete trials, best score first."""
        from tenslora_search.report.pareto import front

        return front(self._record.trials)

    def best(self, max_params: int | None = None) -> int:
        """The number of the front's trial with the highest score, among those of at most `max_params` parameters."""
        rows = self.front()
        rows = rows if max_params is None else rows[rows["n_params"] <= max_params]
        if rows.empty:
            what = "no trial is complete" if max_params is None else f"no complete trial has {max_params:,} parameters or fewer"
            raise QuestionError(f"{what} in {self.folder}.")
        return int(rows.iloc[0]["number"])

    def pick(self, which: str | int) -> int:
        """A trial's number from best, knee, smallest or a number."""
        from tenslora_search.report.pareto import PICKS

        if str(which).isdigit():
            return int(which)
        pick = PICKS[str(which)]
        _ = self.best()
        return int(pick(self.front()))

    def export(self, which: str | int, to: str | Path, format: str = "peft") -> Path:
        """Writes the trained adapter of a trial, its task head included: a peft checkpoint, ours, or a merged model."""
        from tenslora_search.training.trained import export_trained

        number = self.pick(which)
        return export_trained(self._trained_file(number), Path(to), format, self.file)

    def report(self) -> Path:
        """Writes report.html, front.csv, trials.csv and front.png anew; the path of the first."""
        from tenslora_search.report.build import build

        build(self.folder)
        return self.folder / "report.html"

    @property
    def proof(self) -> tuple[int, int]:
        """(configurations proposed, those over the budget), each counted anew from its specification."""
        from tenslora_search.search.journal import Journal
        from tenslora_search.spec.adapter import AdapterSpec

        events = [event for event in Journal(self.folder / "trials.jsonl").read() if event["event"] == "proposed"]
        counts = [AdapterSpec.from_json(event["spec"]["adapter"]).n_params for event in events]
        return len(counts), sum(one > self.file["budget"] for one in counts)

    @property
    def _record(self) -> Any:
        from tenslora_search.report.reading import read_run

        return read_run(self.folder)

    def _trained_file(self, number: int) -> Path:
        """The trained state of a complete trial: of its first retest, whose report score is known, else of the search."""
        trials = self._record.trials
        rows = trials[trials["number"] == number]
        if rows.empty:
            raise QuestionError(f"no trial {number} in {self.folder}; it has {len(trials)}, numbered from 0.")
        state = str(rows.iloc[0]["state"])
        if state != "complete":
            raise QuestionError(f"trial {number} is {state}, not complete; only a trained adapter can be exported.")
        retested = sorted((self.folder / "states").glob(f"retest-{number}-*.safetensors"))
        own = self.folder / "states" / f"{number}-{int(rows.iloc[0]['step'])}.safetensors"
        return retested[0] if retested else own
