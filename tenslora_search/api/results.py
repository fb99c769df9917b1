"""Run: a run folder's results and adapters; read from its files, wherever and whenever it was
made."""

import hashlib
import html
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.runs.paths import inside
from tenslora_search.runs.provenance import printable
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.paths import typed
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.wordings import WORDINGS, Wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas

    from tenslora_search.data.batches import Split
    from tenslora_search.export.trained import Load
    from tenslora_search.report.reading import RunRecord
    from tenslora_search.report.rows import Row
    from tenslora_search.runs.replay import Record

USUAL: dict[str, Any] = {"rank": None, "uniform_rank": False, "head": True}
"""Options of an export where they are left out."""


def said(name: str, value: object) -> str:
    """An option of an export as the command line has it."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {value}"


class Run:
    """A run folder, read. Data frames have one row a trial (architecture: `number`, `state`,
    `method`, `n_params`, ...).

    >>> run = load_run(run_folder)
    >>> run.trials()["n_params"].max() <= 4_000, run.proof  # (proposed, over the budget)
    (np.True_, (2, 0))
    >>> run.best(max_params=4_000) == run.pick("best")
    True
    """

    def __init__(self, folder: Path, *, load: "Load | None" = None) -> None:
        """`load`: how exports load the base; else each loads it anew."""
        self.folder = folder
        self.file = RunFile.read(folder)
        self._load = load
        self._known: tuple[str, RunRecord] | None = None

    def trials(self) -> "pandas.DataFrame":
        """One row a trial, failed and paused ones too."""
        from tenslora_search.report.rows import frame

        return frame(self._record.rows)

    def front(self) -> "pandas.DataFrame":
        """The non-dominated complete trials, best score first."""
        from tenslora_search.report.pareto import front
        from tenslora_search.report.rows import columns_of, frame

        rows = self._record.rows
        return frame(front(rows), columns_of(rows))

    def _repr_html_(self) -> str:
        """In a notebook: the front as a table."""
        columns = ["number", "method", "ranks", "n_params", "score", "report_score", "report_std"]
        about = html.escape(f"{self.file.task}, {self.file.metric}: {self.folder}")
        return f"<p>{about}</p>{self.front()[columns].to_html(index=False, na_rep='-')}"

    @checked()
    def best(self, max_params: int | None = None, within: float = 0.0) -> int:
        """The number of the front's trial with the highest estimate (select score, where there is
        none), of at most `max_params` parameters.

        With `within`, of the smallest trial that is at most so far below that.
        """
        from tenslora_search.report.pareto import front

        if not within >= 0:
            raise QuestionError(f"within is a difference of scores, 0 or more; got {within!r}.")
        every = front(self._record.rows)
        rows = [one for one in every if max_params is None or one.n_params <= max_params]
        if not rows:
            what = (
                "no trial is complete"
                if max_params is None
                else f"no complete trial has {max_params:,} parameters or fewer"
            )
            raise QuestionError(f"{what} in {self.folder}.")
        least = max(one.worth for one in rows) - within
        return min((one for one in rows if one.worth >= least), key=lambda one: one.n_params).number

    @checked()
    def pick(self, which: str | int) -> int:
        """A trial's number from best, knee, smallest or a number."""
        from tenslora_search.report.pareto import PICKS, front

        if str(which).isdecimal():
            return int(which)
        pick = PICKS[str(which)]
        _ = self.best()
        record = self._record
        return pick(front(record.rows), record.typical_noise("select"))

    @checked()
    def export(
        self,
        which: str | int,
        to: str | Path,
        format: str = "peft",
        *,
        license: str | None = None,
        push: str | None = None,
        base_name: str | None = None,
        **options: Any,
    ) -> Path:
        """Writes a trial's adapter (best, knee, smallest or a number), task head and model card.

        `format`: peft, native or merged. A trial of the front is exported as its first retest left
        it, the weights whose report score is known. `options` for servers of LoRA, in peft's
        format: `uniform_rank=True` pads every map to one rank that they take, exactly; `rank=N`
        compresses every map to at most that, and the card says what it costs on select;
        `head=False` leaves the task head beside the checkpoint. `license` is named in the card;
        `push` uploads the folder to a repository ORG/NAME of the hub, where it names no path of
        this machine: a base that is a local folder goes by `base_name`, its id on the hub.
        `QuestionError` for a trial that is not complete, and for a folder of something else.
        """
        from tenslora_search.export.trained import export_trained
        from tenslora_search.hub.push import push as upload

        number, to = self.pick(which), typed(to)
        record = self._record
        trial = _complete(record.rows, number, self.folder)
        options = {name: one for name, one in options.items() if one != USUAL.get(name, ...)}
        told = {"license": license, "push": push, "base_name": base_name}
        told["command"] = self._export_command(number, format, options, to)
        export_trained(
            self._state(record, number), to, format,
            model=self.file.model, model_digest=self.file.model_digest,
            facts=replace(self._facts(trial, record.trials[number]), **told),
            options=options, select=self._select, load=self._load,
        )  # fmt: skip
        if push is not None:
            upload(to, push)
        return to

    def _state(self, record: "RunRecord", number: int) -> Path:
        """The file of a trial's weights: of its first retest, else of the search."""
        told = record.trials[number]
        retests = [told.retests[seed] for seed in sorted(told.retests)]
        name = retests[0].state if retests else told.file
        if not name:
            raise QuestionError(
                f"the weights of trial {number} are not in {self.folder}: a training loop of your "
                "own (ask_tell) keeps them "
                "itself: save_peft(adapter, DIR)."
            )
        state = inside(self.folder, str(name))
        if not state.is_file():
            raise QuestionError(
                f"the weights of trial {number} are not in {self.folder}: {name} is missing."
            )
        return state

    def _export_command(self, number: int, format: str, options: dict[str, Any], to: Path) -> str:
        """What made the run and the export, for a shell."""
        asked = "".join(f" {said(name, value)}" for name, value in options.items())
        export = f"--pick {number} --format {format}{asked} --to {shlex.quote(str(to))}"
        made = self._command(self.file.question)
        return printable(f"{made}\ntenslora-search export {shlex.quote(str(self.folder))} {export}")

    def report(self) -> Path:
        """Writes report.html, front.csv, trials.csv and front.png anew; the path of the first."""
        from tenslora_search.report.build import build

        build(self.folder)
        return self.folder / "report.html"

    @property
    def proof(self) -> tuple[int, int]:
        """(configurations proposed, those over the budget), each counted anew from its
        specification.
        """
        record = self._record
        return len(record.rows), record.over_budget

    def _select(self) -> "Split":
        """The rows that trials were chosen by; `QuestionError` if they are not what they were."""
        from tenslora_search.data.task import load_task

        question, expected = self.file.question, {"data": self.file.data_digest}
        return load_task(**question.task_options, model=question.model, expected=expected).select

    @property
    def _record(self) -> "RunRecord":
        """Read once as long as the folder's files stay what they are."""
        from tenslora_search.report.reading import read_run

        files = [self.folder / name for name in ("run.json", "trials.jsonl")]
        there = [file.read_bytes() if file.is_file() else b"" for file in files]
        digest = hashlib.sha256(b"\0".join(there)).hexdigest()
        if self._known is None or self._known[0] != digest:
            self._known = digest, read_run(self.folder)
        return self._known[1]

    def _facts(self, trial: "Row", told: "Record") -> Any:
        """What the model card says besides the specification."""
        from tenslora_search.data.goals import GOALS
        from tenslora_search.export.facts import Facts
        from tenslora_search.hub.places import model_kind

        question = self.file.question
        is_pair = "text_pair" in (
            TASKS[question.task].kind if question.task else question.columns or ()
        )
        kind = model_kind(question.model)
        return Facts(
            number=trial.number,
            task=self.file.task,
            metric=self.file.metric,
            kind="text_pair" if kind == "text" and is_pair else kind,
            training={
                "steps": question.max_steps,
                "batch_size": question.batch_size,
                "max_length": question.max_length,
            },
            report_rows=(self.file.rows or {}).get("report", 0),
            select_score=trial.score,
            cut_from=trial.cut_from,
            report_scores=[told.retests[seed].report_score for seed in sorted(told.retests)],
            budget=self.file.budget,
            head_params=self.file.head_params,
            goal=GOALS[self.file.goal].again(self.file.labels, self.file.metric, {}),
            wording=self._wording if GOALS[self.file.goal].kinds else None,
            dataset=TASKS[question.task].hub if question.task else None,
            command="",
        )

    @property
    def _wording(self) -> Wording | None:
        """How the text was made that trials have learnt to write."""
        task, there = self.file.question.task, set(self.file.columns or ())
        of_task = [TASKS[task].wording] if task else []
        every = [one for one in (*of_task, *WORDINGS.values()) if one is not None]
        return next((one for one in every if there >= set(one.columns)), None)

    def _command(self, question: Question) -> str:
        """As it was typed, or the call that asks the same from Python."""
        if self.file.command:
            return self.file.command
        defaults = {field.name: field.default for field in fields(Question)}
        asked = {
            name: value for name, value in question.to_json().items() if value != defaults[name]
        }
        return (
            f"search({', '.join(f'{name}={value!r}' for name, value in asked.items())})  # "
            "from tenslora_search import search"
        )


@checked()
def load_run(folder: str | Path) -> Run:
    """The run in a folder; `QuestionError` if there is none.

    >>> load_run(run_folder).file.task
    'digits'
    """
    return Run(typed(folder))


def _complete(rows: "Sequence[Row]", number: int, folder: Path) -> "Row":
    """The row of a trial that is trained to the end; `QuestionError` for any other."""
    row = next((one for one in rows if one.number == number), None)
    if row is None:
        raise QuestionError(f"no trial {number} in {folder}; it has {len(rows)}, numbered from 0.")
    if not row.is_complete:
        raise QuestionError(
            f"trial {number} is {row.state}, not complete; only a trained adapter can be exported."
        )
    return row
