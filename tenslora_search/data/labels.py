"""read_labels(): a label column becomes class numbers with names, or scores."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.data.columns import Columns
from tenslora_search.data.sources import Source
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import LabelKind, Task

MOST_CLASSES = 1000
"""Unless the question says that the labels are classes."""
WHOLE = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True)
class Labels:
    """Class numbers (int64) or scores (float32) by split; `names` of the classes, empty for
    scores."""

    of: dict[str, NDArray]
    names: tuple[str, ...]
    regression: bool


def read_labels(
    source: Source,
    roles: Columns,
    task: Task | None,
    splits: tuple[str, ...],
    kind: LabelKind | None = None,
) -> Labels:
    """The labels of the splits, train first.

    Scores where the task or `kind` says so, or, where neither says anything, numbers have
    fractions; else classes, named by the files or by their own distinct values. Raises
    `QuestionError` for missing labels, labels that are lists, one class only, or labels that train
    does not have.
    """
    columns = {split: source.frames[split][roles.label] for split in splits}
    for split, column in columns.items():
        _check_complete(column, f"{split} of {source.origin}", roles.label)
    where = f"column {roles.label!r} of {source.origin}"
    scored = kind == "numbers" or (kind is None and _has_fractions(columns["train"]))
    if task.regression if task else scored:
        return Labels(
            {split: _scores(column, f"{split}, {where}") for split, column in columns.items()},
            (),
            True,
        )
    names = source.class_names.get(roles.label)
    numbered = names is not None and _all_whole(columns["train"])
    texts = {split: [_name(label) for label in column] for split, column in columns.items()}
    keys = (
        [str(number) for number in range(len(names))]
        if names is not None and numbered
        else _sorted(set(texts["train"]))
    )
    names = names if names is not None and numbered else tuple(keys)
    _check_classes(texts, set(keys), where, doubtful=kind is None)
    numbers = {key: number for number, key in enumerate(keys)}
    return Labels(
        {split: np.array([numbers[text] for text in found]) for split, found in texts.items()},
        names,
        False,
    )


def _check_complete(column: Any, where: str, name: str) -> None:
    import pandas as pd

    for row, label in enumerate(column, start=1):
        if not pd.api.types.is_scalar(label):
            what = (
                f"row {row} of {where} has a {type(label).__name__} in column {name!r}: "
                f"{str(label)[:60]!r}"
            )
            raise QuestionError(f"{what}; a label is one text or number.")
    missing = np.flatnonzero((column.isna() | (column.astype(str).str.strip() == "")).to_numpy())
    if len(missing):
        how_many = f"{len(missing):,} of {len(column):,} rows"
        raise QuestionError(
            f"{how_many} of {where} have no label in column {name!r} (first: row {missing[0] + 1})."
        )


def _check_classes(
    texts: dict[str, list[str]], known: set[str], where: str, *, doubtful: bool
) -> None:
    """`doubtful`: nobody said that the labels are classes."""
    there = set(texts["train"])
    if len(there) < 2:
        raise QuestionError(
            f"one class only in train, {where}: every label is {next(iter(there))!r}; two or more "
            "are needed."
        )
    n_rows = len(texts["train"])
    if doubtful and (len(there) > MOST_CLASSES or (len(there) * 2 > n_rows and len(there) > 20)):
        many = f"{where} holds {len(there):,} different labels in {n_rows:,} rows of train"
        hint = (
            "If not, --column label=NAME; if so, for data of your own, --labels numbers "
            "(scores) or --labels classes"
        )
        raise QuestionError(f"{many}; is it the label? {hint}.")
    for split, found in texts.items():
        extra = set(found) - (known & there if split != "train" else known)
        if extra:
            rest = (
                f"train has {_listed(there)}"
                if split != "train"
                else f"the named classes are {_listed(known)}"
            )
            raise QuestionError(
                f"labels differ between splits, {where}: {split} has {_listed(extra)}; {rest}."
            )


def _scores(column: Any, where: str) -> NDArray[np.float32]:
    import pandas as pd

    numbers: Any = pd.to_numeric(column, errors="coerce")
    scores = numbers.to_numpy(dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise QuestionError(
            f"row {wrong[0] + 1} of {where} is no number: {column.iloc[wrong[0]]!r}; a score must "
            "be one."
        )
    if np.ptp(scores) == 0:
        raise QuestionError(f"every label is {scores[0]:g} in {where}; there is nothing to learn.")
    return scores


def _has_fractions(column: Any) -> bool:
    """Whether all labels are numbers and not all of them whole ones."""
    import pandas as pd

    if column.map(lambda label: isinstance(label, (bool, np.bool_))).any():
        return False
    numbers: Any = pd.to_numeric(column, errors="coerce")
    numbers = numbers.to_numpy(dtype=np.float64)
    return bool(np.isfinite(numbers).all() and (numbers != np.rint(numbers)).any())


def _all_whole(column: Any) -> bool:
    return all(WHOLE.fullmatch(_name(label)) for label in column.unique())


def _name(label: Any) -> str:
    """The label as text; 1, 1.0, "1", "1.0" and " 1" are the same label."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    text = str(label).strip()
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def _sorted(names: set[str]) -> list[str]:
    """Whole numbers by size, anything else by text."""
    return sorted(names, key=int) if all(map(WHOLE.fullmatch, names)) else sorted(names)


def _listed(names: set[str]) -> str:
    some = ", ".join(_sorted(names)[:8])
    return some if len(names) <= 8 else f"{some}, ... ({len(names):,} in all)"
