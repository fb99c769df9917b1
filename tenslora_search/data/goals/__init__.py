"""GOALS: what is learnt: how labels are read, what the model puts out, how a loss is taken, how
answers become a score. One entry a goal: a file of this folder, with a class whose `name` is the
file's.

A goal calls the model itself, because what is before its loss may be too large to exist at once
(trial x row x token x vocabulary). One whose readout is the model's own says `n_outputs` 0: then no
head is made, `losses` runs `model.base_model` and takes the loss over chunks of rows, each from the
frozen output embeddings. What a batch must hold for that, such as the tokens that count, `encode`
puts among the split's inputs, which are cut to a batch's width.
"""

import importlib
import pkgutil
from typing import Any

from tenslora_search.data.goals.base import Goal, Readout, logits_of, side_by_side
from tenslora_search.data.goals.classes import Classes
from tenslora_search.data.goals.labels import Labels
from tenslora_search.data.goals.numbers import Numbers
from tenslora_search.spec.families import Writes
from tenslora_search.spec.metrics import GOAL_METRICS
from tenslora_search.spec.table import QuestionError, Table, shortened

__all__ = [
    "GOALS", "Classes", "Goal", "Labels", "Numbers", "Readout", "goal_for", "goal_of_text",
    "logits_of", "side_by_side",
]  # fmt: skip


class _Goals(Table[type[Goal]]):
    """Tells spec which metrics score a goal from outside: `metrics` of its class.

    It is tried before the package's own, which take any labels.
    """

    def add(self, name: str, entry: Any) -> None:
        metrics = getattr(entry, "metrics", ())
        if not metrics or not isinstance(metrics, tuple | list):
            raise QuestionError(
                f"goal {name} names no metrics: its class says which of METRICS score its answers, "
                f"such as metrics = ('accuracy',); got {shortened(metrics)}."
            )
        super().add(name, entry)
        try:
            GOAL_METRICS.add(name, tuple(metrics))
        except QuestionError:
            super().remove(name)
            raise
        self._entries = {name: self._entries.pop(name), **self._entries}

    def remove(self, name: str) -> None:
        super().remove(name)
        if name in GOAL_METRICS.added:
            GOAL_METRICS.remove(name)


def _found() -> dict[str, type[Goal]]:
    """The goals of this folder, those that take whatever there is last."""
    goals: list[Any] = []
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        goals += [
            one
            for one in vars(module).values()
            if isinstance(one, type) and getattr(one, "name", None) == file.name
        ]
    return {one.name: one for one in sorted(goals, key=lambda one: (one.is_last, one.name))}


GOALS: Table[type[Goal]] = _Goals("goal", _found())
"""In the order in which they are tried where nobody says what the labels are."""


def goal_for(cells: Any) -> str:
    """The first goal that the labels suit."""
    return next(name for name, goal in GOALS.items() if not goal.kinds and goal.suits(cells))


def goal_of_text(kind: str, writes: Writes, what: str, model: str) -> str:
    """The first goal that learns text of a kind (`spec.wordings`) with such a model; `what` names
    the text in the `QuestionError` for a model with which there is none.
    """
    for name, goal in GOALS.items():
        if kind in goal.kinds and goal.writes == writes:
            return name
    raise QuestionError(
        _no_writer(what, sorted({one.writes for one in GOALS.values() if kind in one.kinds}), model)
    )


def check_writes(goal: str, writes: Writes, model: str) -> None:
    """`QuestionError` where the goal reads the model's own output, and the model has none such."""
    wanted = GOALS[goal].writes
    if wanted and writes != wanted:
        raise QuestionError(_no_writer(f"goal {goal}", [wanted], model))


WRITERS = {"decoder": "smollm2, gpt2 or Qwen2.5-0.5B", "encoder-decoder": "t5-base"}


def _no_writer(what: str, wanted: list[str], model: str) -> str:
    tried = "; ".join(f"{one} models such as {WRITERS[one]}" for one in wanted)
    return f"{what} is learnt by {tried}; model {model!r} is none."
