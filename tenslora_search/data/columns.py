"""find_columns(): which columns are the input and which is the label: as the question says, as the
task says, or by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenslora_search.data.sources import Source
from tenslora_search.spec.table import QuestionError, unknown
from tenslora_search.spec.tasks import Kind, Task
from tenslora_search.spec.wordings import WORDINGS, Wording

LABELLED_ROLES = ("text", "text_pair", "image", "label")
ALSO = {"messages": ("conversations",), "completion": ("response",), "text": ("content",)}
"""Other names of the columns of WORDINGS."""

# Names are compared in lower case. Pairs come first: data with a question and a sentence is a pair,
# not a sentence.
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question",
    "sentence"), ("text1", "text2"), ("text_a", "text_b"), ("text", "text_pair"), ("question",
    "answer"), ("query", "passage"), ("question", "passage"), ("question", "context"), ("query",
    "document"), ("title", "body"),
)  # fmt: skip
TEXTS = (
    "text",
    "sentence",
    "content",
    "review",
    "document",
    "tweet",
    "comment",
    "question",
    "title",
    "body",
)
IMAGES = (
    "image",
    "img",
    "picture",
    "photo",
    "pixels",
    "image_path",
    "image_file",
    "file_name",
)
LABELS = (
    "label",
    "labels",
    "coarse_label",
    "target",
    "class",
    "category",
    "sentiment",
    "score",
    "stars",
    "y",
)


class NoColumnsError(QuestionError):
    """No columns of text to learn were found by their names."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the input, in the order the model reads them, and of the label; several
    columns of the label hold 0 or 1 each.
    """

    kind: Kind
    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    unused: tuple[str, ...] = ()
    """other columns of text, where the inputs were found by name: perhaps they were meant to be
    read
    """
    wording: Wording | None = None
    """how text that is to be written is made of the inputs"""
    worded: tuple[str, ...] = ()
    """the wording's own names of the inputs"""

    @property
    def label(self) -> str:
        """What errors call the label's column, or columns."""
        return ", ".join(self.labels)

    @property
    def roles(self) -> dict[str, str]:
        """The columns by role."""
        if self.wording:
            return dict(zip(self.worded, self.inputs, strict=True))
        inputs = ("image",) if self.kind == "image" else ("text", "text_pair")
        return {**dict(zip(inputs, self.inputs, strict=False)), "label": self.label}

    def labelled(self, source: Source, split: str) -> bool:
        """Whether the split has labels; -1 in every row (GLUE's test splits) is none. Of text that
        is to be written: whether it has the columns.
        """
        frame: Any = source.frames[split]
        if self.wording:
            return all(self.roles[name] in frame for name in self.wording.columns)
        return all(name in frame and _holds_labels(frame[name]) for name in self.labels)


def find_columns(
    source: Source,
    task: Task | None,
    chosen: Mapping[str, str | Sequence[str]],
    kinds: tuple[str, ...] | None = None,
) -> Columns:
    """The columns of the train split by role. `chosen` may name several for the label: as a list,
    or with commas between. `kinds` of wordings the goal reads: none of a goal with labels; None
    where no goal was asked for.

    Raises `QuestionError` that lists the columns there are when one is missing or none can be told
    apart.
    """
    frame = source.frames["train"]
    there = f"columns of {source.origin}: {', '.join(map(str, frame.columns))}"
    asked = {role: _columns_of(role, names, frame) for role, names in chosen.items()}
    for role, column in ((role, column) for role, names in asked.items() for column in names):
        if column not in frame:
            raise QuestionError(f"no column {column!r} for {role}; {there}.")
    by_role = {role: names[0] for role, names in asked.items()}
    found = _worded(frame, task, by_role, kinds, there)
    return found or _labelled(frame, task, asked, by_role, there)


def _labelled(
    frame: Any,
    task: Task | None,
    asked: Mapping[str, tuple[str, ...]],
    by_role: Mapping[str, str],
    there: str,
) -> Columns:
    """The columns of an input and its label."""
    labels = asked.get("label") or _label(frame, task, set(by_role.values()))
    if not labels:
        raise QuestionError(
            f"no label column; {there}. Name it with --column label=NAME; or learn the text itself "
            f"with --goal next_token{_half_worded(frame)}."
        )
    named = _chosen_inputs(by_role) or _task_inputs(frame, task)
    inputs = named or _found_inputs(frame, task, labels)
    if inputs is None:
        wanted = task.kind.replace("_", " ") if task else "text, text pair or image"
        raise QuestionError(
            f"no {wanted} column; {there}. Name it with --column text=NAME (text_pair, image)."
        )
    kind, names = inputs
    if task is not None and kind != task.kind:
        raise QuestionError(
            f"task {task.name} is {task.kind.replace('_', ' ')}, the data is "
            f"{kind.replace('_', ' ')}; {there}."
        )
    others = (
        []
        if named
        else [column for column in frame.columns if str(column) not in (*names, *labels)]
    )
    return Columns(
        kind, names, labels, tuple(str(column) for column in others if _holds_words(frame[column]))
    )


def _worded(
    frame: Any,
    task: Task | None,
    chosen: Mapping[str, str],
    kinds: tuple[str, ...] | None,
    there: str,
) -> Columns | None:
    """The columns of text that is to be written; None where something labelled is to be read.

    Where nobody said what is to be learnt, a lone column of text is, and no label.
    """
    is_asked = bool(kinds) or any(role not in LABELLED_ROLES for role in chosen)
    if kinds == () or (not is_asked and ("label" in chosen or _label(frame, task, set()))):
        return None
    by_name = {str(column).lower(): str(column) for column in frame.columns}
    of_task = [task.wording] if task is not None and task.wording else []
    for one in [*of_task, *WORDINGS.values()]:
        named = {name: _called(name, chosen, by_name) for name in one.read}
        if (kinds and one.kind not in kinds) or not all(named[name] for name in one.columns):
            continue
        if any(role not in one.read for role in chosen):
            continue
        if one.kind == "text" and not is_asked and len(by_name) > 1:
            continue
        found = {name: column for name, column in named.items() if column}
        return Columns("text", tuple(found.values()), (), (), one, tuple(found))
    if is_asked:
        fitting = [one for one in WORDINGS.values() if not kinds or one.kind in kinds]
        wanted = "; ".join(", ".join(one.columns) for one in fitting)
        of_goal = " for this --goal" if kinds else ""
        raise NoColumnsError(
            f"no columns of text to learn{of_goal}; {there}. Wanted one of: {wanted} (--column "
            f"{fitting[0].columns[0]}=NAME names one){_half_worded(frame)}."
        )
    return None


def _half_worded(frame: Any) -> str:
    """What is missing where half of a wording's columns are there: prompts, say, alone."""
    by_name = {str(column).lower(): str(column) for column in frame.columns}
    for one in WORDINGS.values():
        there = [name for name in one.columns if name not in TEXTS and _called(name, {}, by_name)]
        missing = [name for name in one.columns if not _called(name, {}, by_name)]
        if one.kind == "pairs" and there and missing:
            need, has = missing[0], by_name[there[0]]
            return (
                f"; a {there[0]} is learnt with its {need}, of which there is no column "
                f"(--column {need}=NAME), or as plain text (--goal next_token --column text={has})"
            )
    return ""


def _called(name: str, chosen: Mapping[str, str], by_name: Mapping[str, str]) -> str:
    """The column that is a wording's `name`; "" where there is none."""
    names = (name.lower(), *ALSO.get(name, ()))
    return chosen.get(name) or next((by_name[one] for one in names if one in by_name), "")


def _columns_of(role: str, names: str | Sequence[str], frame: Any) -> tuple[str, ...]:
    """The columns that a role is given."""
    known = [*LABELLED_ROLES, *(name for one in WORDINGS.values() for name in one.read)]
    if role not in known:
        raise QuestionError(unknown("column role", role, list(dict.fromkeys(known))))
    if isinstance(names, str):
        is_list = role == "label" and names not in frame and "," in names
        return tuple(name.strip() for name in names.split(",")) if is_list else (names,)
    if role != "label" and len(names) > 1:
        raise QuestionError(f"one column for {role}; got {', '.join(map(str, names))}.")
    return tuple(map(str, names))


def _holds_labels(column: Any) -> bool:
    """Whether any row has a label; -1 in every row (GLUE's test splits) is none."""
    return not (column.isna().all() or column.astype(str).isin(["", "-1", "-1.0"]).all())


def _chosen_inputs(chosen: Mapping[str, str]) -> tuple[Kind, tuple[str, ...]] | None:
    if "image" in chosen:
        return "image", (chosen["image"],)
    if "text_pair" in chosen:
        if "text" not in chosen:
            raise QuestionError("a column for 'text_pair' needs one for 'text' too.")
        return "text_pair", (chosen["text"], chosen["text_pair"])
    return ("text", (chosen["text"],)) if "text" in chosen else None


def _task_inputs(frame: Any, task: Task | None) -> tuple[Kind, tuple[str, ...]] | None:
    there = task is not None and all(column in frame for column in task.columns)
    return (task.kind, task.columns) if task is not None and there else None


def _found_inputs(
    frame: Any, task: Task | None, labels: tuple[str, ...]
) -> tuple[Kind, tuple[str, ...]] | None:
    """By the names people use; else the only column that holds text, or images."""
    by_name = {str(column).lower(): str(column) for column in frame.columns if column not in labels}
    wanted = task.kind if task else None
    for first, second in PAIRS:
        if wanted in (None, "text_pair") and first in by_name and second in by_name:
            return "text_pair", (by_name[first], by_name[second])
    named: tuple[tuple[Kind, tuple[str, ...]], ...] = (("image", IMAGES), ("text", TEXTS))
    for kind, names in named:
        for name in names:
            if wanted in (None, kind) and name in by_name:
                return kind, (by_name[name],)
    holding: tuple[tuple[Kind, Callable[[Any], bool]], ...] = (
        ("image", _holds_images),
        ("text", _holds_text),
    )
    for kind, holds in holding:
        found = [column for column in by_name.values() if holds(frame[column])]
        if wanted in (None, kind) and len(found) == 1:
            return kind, (found[0],)
    return None


def _label(frame: Any, task: Task | None, taken: set[str]) -> tuple[str, ...]:
    if task is not None and task.label in frame:
        return (task.label,)
    by_name = {str(column).lower(): str(column) for column in frame.columns if column not in taken}
    found = [by_name[name] for name in LABELS if name in by_name]
    return tuple(found[:1])


def _holds_words(column: Any) -> bool:
    """Whether the column holds text, not only numbers written as text."""
    import pandas as pd

    if not _holds_text(column):
        return False
    numbers: Any = pd.to_numeric(column, errors="coerce")
    return bool(numbers.isna().any())


def _holds_text(column: Any) -> bool:
    return isinstance(column.iloc[0], str)


def _holds_images(column: Any) -> bool:
    return isinstance(column.iloc[0], bytes) or (
        isinstance(column.iloc[0], dict) and "bytes" in column.iloc[0]
    )
