"""The front: complete trials that no other beats in both score and parameters; what to pick from it; its hypervolume."""

import math
from collections.abc import Callable

import pandas as pd

from tenslora_search.spec.table import Table


def front(trials: pd.DataFrame) -> pd.DataFrame:
    """The non-dominated complete trials, best select score first; of equals the one proposed first."""
    complete = trials[trials["state"] == "complete"].sort_values(["n_params", "score", "number"], ascending=[True, False, True])
    before = complete["score"].cummax().shift(fill_value=-math.inf)
    return complete[complete["score"] > before].sort_values("score", ascending=False).reset_index(drop=True)


def hypervolume(trials: pd.DataFrame, *, floor: float, budget: int) -> float:
    """Area between the front and `floor` over log10 parameters up to the budget: score units times decades."""
    rows, area, right = front(trials), 0.0, math.log10(budget)
    for row in rows.itertuples():
        left = math.log10(row.n_params)  # type: ignore[arg-type]
        area += max(0.0, right - left) * max(0.0, row.score - floor)  # type: ignore[operator]
        right = min(right, left)
    return area


def shown_score(trials: pd.DataFrame) -> pd.Series:
    """The report score where there is one, else the select score."""
    return trials["report_score"].fillna(trials["score"])


def best(rows: pd.DataFrame) -> int:
    """The highest select score."""
    return int(rows.loc[rows["score"].idxmax(), "number"])  # type: ignore[arg-type]


def knee(rows: pd.DataFrame) -> int:
    """Where the front bends: farthest above the line between its ends, over log parameters."""
    logs, scores = rows["n_params"].map(math.log), rows["score"]
    width, height = logs.max() - logs.min(), scores.max() - scores.min()
    if not width or not height:
        return best(rows)
    above = (scores - scores.min()) / height - (logs - logs.min()) / width
    return int(rows.loc[above.idxmax(), "number"])  # type: ignore[arg-type]


def smallest(rows: pd.DataFrame) -> int:
    """The smallest one that the best does not beat by more than one standard error of its retests (0.01 where unknown)."""
    top = rows.loc[rows["score"].idxmax()]
    known = top["n_retests"] > 1 and not math.isnan(top["report_std"])
    error = top["report_std"] / math.sqrt(top["n_retests"]) if known else 0.01
    near = rows[rows["score"] >= top["score"] - error]
    return int(near.loc[near["n_params"].idxmin(), "number"])  # type: ignore[arg-type]


PICKS: Table[Callable[[pd.DataFrame], int]] = Table("pick", {entry.__name__: entry for entry in (best, knee, smallest)})
"""How a trial is chosen from the rows of a front; each gives its number."""
