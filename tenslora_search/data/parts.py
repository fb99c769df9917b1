"""Parts: rows of a task's splits, and how fit, select and report are cut from train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tenslora_search.data.encode import kept
from tenslora_search.data.goals import GOALS
from tenslora_search.data.labels import is_missing
from tenslora_search.data.near import in_order, near_groups
from tenslora_search.data.rows import Rows
from tenslora_search.data.sources import Source
from tenslora_search.data.splits import cut, held_out_size
from tenslora_search.hub.cache import cache_folder
from tenslora_search.spec.table import QuestionError

NEAR = "3"  # part of the cache's key: of what counts as nearly the same


@dataclass(frozen=True)
class Part:
    """Rows, what is to be learnt of them, and the group of each where a column says it."""

    rows: Rows
    targets: NDArray
    groups: NDArray | None = None

    def take(self, index: NDArray) -> "Part":
        groups = None if self.groups is None else self.groups[index]
        return Part(self.rows.take(index), self.targets[index], groups)

    def grouped(self, cache: Path | str | None) -> NDArray:
        """A number a row; rows of one number stay on one side of a cut."""
        return near_rows(self.rows, cache) if self.groups is None else in_order(self.groups)


def near_rows(rows: Rows, cache: Path | str | None = None) -> NDArray:
    """A number a row, from 0 in order of appearance; rows that are equal or nearly the same (see
    near.py) have equal numbers. Kept in the cache.
    """

    def make() -> dict[str, torch.Tensor]:
        return {"groups": torch.from_numpy(near_groups(rows.columns, rows.groups()))}

    return kept(f"groups {NEAR}", rows, cache_folder(cache) / "encoded", make)["groups"].numpy()


def group_column(source: Source, name: str) -> NDArray:
    """The group of each row of train; rows without a value are a group each."""
    frame = source.frames["train"]
    if name not in frame:
        raise QuestionError(
            f"no column {name!r} for --group; columns of {source.origin}: "
            f"{', '.join(map(str, frame.columns))}."
        )
    cells = [place if is_missing(cell) else str(cell) for place, cell in enumerate(frame[name])]
    return in_order(cells)


def three_parts(
    source: Source,
    goal: str,
    found: Mapping[str, Part],
    report_name: str | None,
    seed: int,
    fit_rows: int | None,
    cache: Path | str | None,
) -> tuple[dict[str, Part], dict[str, int]]:
    """fit, select and report; rows and groups in numbers."""
    train = found["train"]
    if report_name:
        own = train.rows.unlike(found[report_name].rows)
        is_labelled = not train.rows.kind
        if len(np.unique(train.targets[own], axis=0)) < 1 + is_labelled:
            n_repeated = len(train.rows) - len(own)
            raise QuestionError(
                f"{n_repeated:,} of {len(train.rows):,} rows of train are in {report_name} too "
                f"({source.origin}); what else there is holds "
                f"{'less than two different labels' if is_labelled else 'nothing'}."
            )
        train = train.take(own)
    wanted = ("select",) if report_name else ("report", "select")
    groups = train.grouped(cache)
    cuts = _cut(train, groups, goal, wanted, np.random.default_rng(seed), fit_rows)
    parts = {part: train.take(index) for part, index in cuts.items()}
    sizes = np.bincount(groups)
    about = {"rows": len(groups), "groups": len(sizes), "largest": int(sizes.max())}
    return ({**parts, "report": found[report_name]} if report_name else parts), about


def _cut(
    train: Part,
    groups: NDArray,
    goal: str,
    wanted: Sequence[str],
    generator: np.random.Generator,
    fit_rows: int | None,
) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of the parts wanted and of fit, which is what they leave."""
    strata_of = GOALS[goal].strata
    left = np.arange(len(groups))
    parts: dict[str, np.ndarray] = {}

    def take(n_rows: int, together: NDArray = groups) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.unique(together[left], return_inverse=True)[1]
        chosen = cut(numbers, strata_of(train.targets[left]), n_rows, generator)
        return left[chosen], left[~chosen]

    for part in wanted:
        parts[part], left = take(held_out_size(len(groups)))
        if not len(parts[part]):
            raise QuestionError(
                f"train has {len(groups):,} rows, {groups.max() + 1:,} of them different: too few "
                f"to cut a {part} split from; "
                "3 different rows are needed, of each class, or 2 where there is a test split."
            )
    if fit_rows is not None:
        if fit_rows < 1:
            raise QuestionError(f"fit_rows must be 1 or more; got {fit_rows}.")
        if fit_rows < len(left):
            capped = take(fit_rows, np.arange(len(groups)))[0]
            left = capped if len(capped) else left
    parts["fit"] = left
    return parts
