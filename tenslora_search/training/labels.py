"""read_labels(): a label column becomes class numbers with names, or scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import Task
from tenslora_search.training.columns import Columns
from tenslora_search.training.sources import Source

MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Labels:
    """Class numbers (int64) or scores (float32) by split; `names` of the classes, empty for scores."""

    of: dict[str, NDArray]
    names: tuple[str, ...]
    regression: bool


def read_labels(source: Source, roles: Columns, task: Task | None, splits: tuple[str, ...]) -> Labels:
    """The labels of the splits, train first.

    Scores where the task says so, or a user's numbers have fractions; else classes, named by the files or by their own
    distinct values. Raises `QuestionError` for missing labels, one class only, or labels that train does not have.
    """
    columns = {split: source.frames[split][roles.label] for split in splits}
    for split, column in columns.items():
        _check_complete(column, f"{split} of {source.origin}", roles.label)
    where = f"column {roles.label!r} of {source.origin}"
    if task.regression if task else _has_fractions(columns["train"]):
        return Labels({split: _scores(column, f"{split}, {where}") for split, column in columns.items()}, (), True)
    names = source.class_names.get(roles.label)
    numbered = names is not None and _all_whole(columns["train"])
    texts = {split: [_name(label) for label in column] for split, column in columns.items()}
    keys = [str(number) for number in range(len(names))] if names is not None and numbered else _sorted(set(texts["train"]))
    names = names if names is not None and numbered else tuple(keys)
    _check_classes(texts, set(keys), where)
    numbers = {key: number for number, key in enumerate(keys)}
    return Labels({split: np.array([numbers[text] for text in found]) for split, found in texts.items()}, names, False)


def _check_complete(column: Any, where: str, name: str) -> None:
    missing = np.flatnonzero((column.isna() | (column.astype(str).str.strip() == "")).to_numpy())
    if len(missing):
        how_many = f"{len(missing):,} of {len(column):,} rows"
        raise QuestionError(f"{how_many} of {where} have no label in column {name!r} (first: row {missing[0] + 1}).")


def _check_classes(texts: dict[str, list[str]], known: set[str], where: str) -> None:
    there = set(texts["train"])
    if len(there) < 2:
        raise QuestionError(f"one class only in train, {where}: every label is {next(iter(there))!r}; two or more are needed.")
    n_rows = len(texts["train"])
    if len(there) > MOST_CLASSES or (len(there) * 2 > n_rows and len(there) > 20):
        raise QuestionError(f"{where} holds {len(there):,} different labels in {n_rows:,} rows of train; is it the label?")
    for split, found in texts.items():
        extra = set(found) - (known & there if split != "train" else known)
        if extra:
            rest = f"train has {_listed(there)}" if split != "train" else f"the named classes are {_listed(known)}"
            raise QuestionError(f"labels differ between splits, {where}: {split} has {_listed(extra)}; {rest}.")


def _scores(column: Any, where: str) -> NDArray[np.float32]:
    import pandas as pd

    numbers: Any = pd.to_numeric(column, errors="coerce")
    scores = numbers.to_numpy(dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise QuestionError(f"row {wrong[0] + 1} of {where} is no number: {column.iloc[wrong[0]]!r}; a score must be one.")
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
    return all(_name(label).lstrip("-").isdigit() for label in column.unique())


def _name(label: Any) -> str:
    """The label as text; 1, 1.0, "1" and " 1" are the same label."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label).strip()


def _sorted(names: set[str]) -> list[str]:
    """Whole numbers by size, anything else by text."""
    numeric = all(name.lstrip("-").isdigit() for name in names)
    return sorted(names, key=int) if numeric else sorted(names)


def _listed(names: set[str]) -> str:
    some = ", ".join(_sorted(names)[:8])
    return some if len(names) <= 8 else f"{some}, ... ({len(names):,} in all)"
