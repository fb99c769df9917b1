"""check_options(): what a search is told besides spaces and data, checked before anything starts; a
dry run does it too.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from tenslora_search.api.trackers import check_tracker
from tenslora_search.engine.executors import EXECUTORS
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.paths import is_file, typed
from tenslora_search.spec.plugins import load_plugins
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.pruners import PRUNERS
from tenslora_search.study.samplers import SAMPLERS

LOGGER = logging.getLogger("tenslora_search")


def check_options(
    question: Question,
    *,
    executor: str,
    gpus_per_worker: float | None,
    time_limit: float | None,
    track: Sequence[str],
) -> None:
    """`QuestionError` for a name that is in no table, or a number that cannot be; says in a warning
    what asks for nothing: the same command with another --retest goes on, so it is no mistake yet.
    """
    for name in track:
        check_tracker(name)
    _ = SAMPLERS[question.sampler], PRUNERS[question.pruner], EXECUTORS[executor]
    if gpus_per_worker is not None and not (
        0 <= gpus_per_worker <= 1 or gpus_per_worker % 1 == 0 < gpus_per_worker
    ):
        raise QuestionError(
            "--gpus-per-worker is 0, a share such as 0.25, or a whole number; got "
            f"{gpus_per_worker!r}."
        )
    if time_limit is not None and not time_limit > 0:
        raise QuestionError(f"--time-limit is more than 0 seconds; got {time_limit!r}.")
    for name in ("retain", "retest_methods") if not question.retest else ():
        if getattr(question, name):
            LOGGER.warning(
                "--%s asks nothing of this search: it is about the retest, which --retest 0 leaves "
                "out. The same command with --retest 2 goes on with it",
                name.replace("_", "-"),
            )  # fmt: skip


def checked_folder(
    out: str | Path | None, plugins: Sequence[str | Path] = (), *, force: bool = False
) -> None:
    """Loads the plugins that were named; `QuestionError` if the run in `out` needs others, which
    shows before a name of theirs is missed.
    """
    load_plugins(plugins)
    if out is not None and not force and is_file(typed(out) / "run.json"):
        RunFile.read(typed(out))
