"""Answers: what the command prints of a search that is over, and of a dry run."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenslora_search.spec.budget import format_count
from tenslora_search.spec.paths import typed

if TYPE_CHECKING:
    from tenslora_search.runs.question import Question
    from tenslora_search.study.feasible import Row


def without_result(run: Any) -> str:
    """Why no trial of a search is complete; "" where one is."""
    trials = run.trials()
    states = set(trials["state"])
    if "complete" in states:
        return ""
    if states == {"failed"}:
        return f"every trial failed; the first: {trials['reason'].iloc[0]}"
    return "no trial was completed; give it more time: the same command goes on where it stopped."


def print_dry_run(
    asked: dict[str, Any], how: dict[str, Any], *, as_json: bool, quiet: bool
) -> None:
    """The local data that would be read, the space in numbers, and how trials would be scored."""
    from tenslora_search.runs.question import Question
    from tenslora_search.study.asked import space_of
    from tenslora_search.study.earlier import check_earlier

    question = Question.of(**asked)
    _check_how(question, how)
    head = question.head_params if question.count_head else 0
    if head is None and not quiet:
        print(
            "tenslora-search: the task head is known when data and model are read; it is not "
            "subtracted here.",
            file=sys.stderr,
        )
    of_adapter = question.adapter_budget(head or 0)
    space = space_of(question, question.geometry, of_adapter)
    check_earlier(question, space)
    rows = space.table()
    found = _looked_at(question)
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    if as_json or quiet:
        return
    beside = f" beside the {format_count(head)} of the task head" if head else ""
    print(
        f"{question.task or question.data} on {question.model}, at most "
        f"{format_count(of_adapter)} parameters{beside}"
    )
    for line in found:
        print(line)
    _print_rows(rows)
    rungs = ", ".join(map(str, question.rungs))
    print(f"{question.trials} trials, scored after {rungs} steps of {question.batch_size} rows; "
          f"sampler {question.sampler}, "
          f"pruner {question.pruner}")  # fmt: skip


def _check_how(question: "Question", how: dict[str, Any]) -> None:
    """As a search does, of what it is told besides its question."""
    from tenslora_search.api.checks import check_options
    from tenslora_search.runs.folder import check_folder

    names = ("executor", "gpus_per_worker", "time_limit", "track")
    check_options(question, **{name: how[name] for name in names})
    if how["out"] is not None:
        check_folder(typed(how["out"]), question, force=how["force"])


def _looked_at(question: "Question") -> list[str]:
    """What a search would read of local data; rows of the hub are left where they are, unless
    columns of theirs are named.
    """
    if question.retain is not None:
        from tenslora_search.data.retain import check_retained

        check_retained(question.retain, question.model)
    if question.data is None and not question.columns and not question.group:
        return []
    from tenslora_search.data.look import look

    asked = question.task_options
    names = ("name", "data", "columns", "goal", "metric", "drop_unlabelled", "group")
    return look(model=question.model, **{name: asked[name] for name in names}).lines()


def _print_rows(rows: "Sequence[Row]") -> None:
    width = 8 if len({row.sites for row in rows}) > 1 else 0  # a column only where it tells
    of_name = max(8, *(len(row.method) + 2 for row in rows)) if rows[0].method else 0
    head_line = f"{'method'[:of_name]:<{of_name}}{'construction':<15}{'decomposition':<15}"
    head_line += f"{'sites'[:width]:<{width}}"
    of_size = max(10, *(len(f"{row.largest:,}") + 2 for row in rows))
    print(f"{head_line}{'smallest':>{of_size}}{'largest':>{of_size}}  feasible ranks")
    for row in rows:
        about = f"about {row.feasible:,}" if row.is_estimate else f"{row.feasible:,}"
        what = f"{row.method:<{of_name}}{row.construction:<15}{row.decomposition:<15}"
        what += f"{row.sites[:width]:<{width}}"
        print(f"{what}{row.smallest:>{of_size},}{row.largest:>{of_size},}  {about}")


def print_result(run: Any, *, as_json: bool, quiet: bool, is_interrupted: bool = False) -> None:
    """The front, the proof that all fit the budget, and where the report lies."""
    from tenslora_search.display import print_front
    from tenslora_search.report.pareto import front
    from tenslora_search.report.reading import read_run
    from tenslora_search.report.result import result

    record = read_run(run.folder)
    checked, over = run.proof
    if as_json:
        print(json.dumps(result(record), indent=2))
    elif not quiet:
        members, metric = front(record.rows), run.file.metric
        print_front(members, record.curves, metric, is_interrupted=is_interrupted)
        if members and run.file.question.retest and not any(one.n_retests for one in members):
            print("not trained again on fresh seeds yet: the same command, with time, goes on")
        print(
            f"proof: {over} of {checked} configurations over budget "
            f"({format_count(run.file.budget)} parameters)"
        )
        adapters = run.folder / "adapters"  # none after Ctrl-C with nothing complete
        print(
            f"report: {run.folder / 'report.html'}"
            + (f"   adapters: {adapters}" if adapters.is_dir() else "")
        )
