"""check_options(): what a search is told besides spaces and data, checked before anything starts; a
dry run does it too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

from tenslora_search.engine.executors import EXECUTORS
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.paths import is_file, typed
from tenslora_search.spec.plugins import load_plugins
from tenslora_search.spec.table import QuestionError, unknown
from tenslora_search.study.pruners import PRUNERS
from tenslora_search.study.samplers import SAMPLERS


def check_names(options: Mapping[str, Any], call: Callable[..., object]) -> None:
    """`QuestionError` for an option that is neither of the question nor of the call itself."""
    own = [one.name for one in signature(call).parameters.values() if one.kind != one.VAR_KEYWORD]
    known = dict.fromkeys([*own, *(one.name for one in fields(Question))])
    for name in options:
        if name not in (*known, "labels"):
            raise QuestionError(unknown("option", name, [*known]))


def check_lists(**named: object) -> None:
    """`QuestionError` for anything else where a list belongs: of a text the characters would be
    taken.
    """
    for name, value in named.items():
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise QuestionError(
                f"{name} is a list, such as {name}=[{str(value)!r}]; got {value!r}."
            )


def check_options(
    question: Question,
    *,
    executor: str,
    pack: int | None,
    gpus_per_worker: float | None,
    time_limit: float | None,
) -> None:
    """`QuestionError` for a name that is in no table, or a number that cannot be."""
    _ = SAMPLERS[question.sampler], PRUNERS[question.pruner], EXECUTORS[executor]
    if pack is not None and pack < 1:
        raise QuestionError(f"--pack is auto or a whole number of 1 or more; got {pack}.")
    if gpus_per_worker is not None and not (
        0 <= gpus_per_worker <= 1 or gpus_per_worker % 1 == 0 < gpus_per_worker
    ):
        raise QuestionError(
            "--gpus-per-worker is 0, a share such as 0.25, or a whole number; got "
            f"{gpus_per_worker:g}."
        )
    if time_limit is not None and not time_limit > 0:
        raise QuestionError(f"a time limit is more than 0 seconds; got {time_limit:g}.")


def checked_folder(
    out: str | Path | None, plugins: Sequence[str | Path] = (), *, force: bool = False
) -> None:
    """Loads the plugins that were named; `QuestionError` if the run in `out` needs others, which
    shows before a name of theirs is missed.
    """
    load_plugins(plugins)
    if out is not None and not force and is_file(typed(out) / "run.json"):
        RunFile.read(typed(out))
