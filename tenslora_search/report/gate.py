"""gate(): whether a new front holds what an old one had, within the noise of their retests."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tenslora_search.report.noise import Noise, noise
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord, read_run, still_running
from tenslora_search.report.rows import Row
from tenslora_search.report.student import quantile
from tenslora_search.spec.table import QuestionError

LOGGER = logging.getLogger("tenslora_search")
ERROR_RATE = 0.05
"""How often a gate closes by chance where nothing has changed: over all members together."""


@dataclass(frozen=True, slots=True)
class Held:
    """A member of the old front beside the best of the new run that is as small."""

    old: int
    n_params: int
    old_score: float
    """report, the mean over fresh seeds"""
    new: int | None
    """None: nothing of the new front is as small, but perhaps the model without an adapter"""
    new_score: float
    """NaN where there is nothing to hold up"""
    margin: float
    """the new score may be this far below"""

    @property
    def holds(self) -> bool:
        return self.new_score >= self.old_score - self.margin


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all members."""

    metric: str
    members: tuple[Held, ...]

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.members)

    def to_json(self) -> dict[str, Any]:
        members = [{**asdict(one), "holds": one.holds} for one in self.members]
        for one in members:
            one["new_score"] = None if math.isnan(one["new_score"]) else one["new_score"]
        return {"holds": self.holds, "metric": self.metric, "members": members}

    def __str__(self) -> str:
        lines = [self._line(one) for one in self.members]
        end = "holds" if self.holds else "worse than before, beyond the noise"
        return "\n".join([*lines, f"gate: {end} ({self.metric} on report)"])

    def _line(self, one: Held) -> str:
        about = f"trial {one.old} ({one.n_params:,} parameters, {one.old_score:.4f})"
        if math.isnan(one.new_score):
            return f"worse  {about}: nothing on the new front is as small"
        word = "holds" if one.holds else "worse"
        moved = one.new_score - one.old_score
        who = "without an adapter" if one.new is None else f"trial {one.new}"
        now = f"now {one.new_score:.4f} ({who})"
        return f"{word}  {about}: {now}, {moved:+.4f}; allowed -{one.margin:.4f}"


def gate(new: str | Path, old: str | Path, *, slack: float = 1.1, within: float = 0.0) -> Verdict:
    """Holds a new run's front up to an old one's, by their scores on fresh seeds.

    For each retested member of the old front, the best retested trial of the new run that has at
    most its parameters, or at most `slack` times as many, whichever is better; where there is none,
    the new model without an adapter. It is worse
    where it lies below by more than the noise: a one-sided t-test, its noise pooled over both runs,
    at 5 % over all members together (Bonferroni). `within` is what else a score may lose: a search
    of another seed finds other trials, which the noise of retests does not hold. `QuestionError`
    for runs of another task, model or score, or not retested on two seeds or more.
    """
    if not slack >= 1:
        raise QuestionError(f"--slack is 1 or more; got {slack:g}.")
    if not within >= 0:
        raise QuestionError(f"--within is a difference of scores, 0 or more; got {within:g}.")
    runs = read_run(new), read_run(old)
    _check(*runs)
    for line in still_running(runs):
        LOGGER.warning("%s", line)
    known = _noise(runs)
    tested = [one for one in runs[0].rows if one.n_retests]
    members = [one for one in front(runs[1].rows) if one.n_retests]

    def margin(n_retests: int, others: int) -> float:
        return within + _margin(known, n_retests, others, len(members))

    zero = runs[0].zero[1]
    found = [_held(one, tested, zero, slack, margin) for one in members]
    return Verdict(runs[1].file.metric, tuple(found))


def _held(
    one: Row,
    tested: Sequence[Row],
    zero: Sequence[float],
    slack: float,
    margin: Callable[[int, int], float],
) -> Held:
    """The new trial is chosen as a front is, by estimate or select score, so that the best of
    several on report is no lucky one: of those as small, or of those with `slack`, whichever is
    better on report. So a run holds against itself. `zero` are those without an adapter.
    """
    small = [other for other in tested if other.n_params <= slack * one.n_params]
    about = one.number, one.n_params, one.report_score
    if not small and not zero:
        return Held(*about, None, math.nan, 0.0)
    if not small:
        return Held(*about, None, fmean(zero), margin(one.n_retests, len(zero)))
    as_small = [other for other in small if other.n_params <= one.n_params]
    tops = [max(some, key=lambda other: other.worth) for some in (as_small, small) if some]
    top = max(tops, key=lambda other: other.report_score)
    return Held(*about, top.number, top.report_score, margin(one.n_retests, top.n_retests))


def _margin(known: Noise, n_retests: int, others: int, n_members: int) -> float:
    t = quantile(ERROR_RATE / n_members, known.freedom)
    return t * known.std * math.sqrt(1 / n_retests + 1 / others)


def _noise(runs: tuple[RunRecord, RunRecord]) -> Noise:
    least = max(run.least_noise for run in runs)
    known = noise([row for run in runs for row in run.rows], least)
    assert known is not None, "each run was retested twice"
    return known


def _check(new: RunRecord, old: RunRecord) -> None:
    for what in ("task", "metric"):
        before, now = getattr(old.file, what), getattr(new.file, what)
        if before != now:
            own = old.file.question.data or new.file.question.data
            hint = "; own data is known by the name of its file or folder: keep it" if own else ""
            raise QuestionError(
                f"the {what} of {old.folder} is {before}, of {new.folder} {now}"
                f"{hint if what == 'task' else ''}."
            )
    for run in (new, old):
        if not any(one.n_retests for one in front(run.rows)):
            raise QuestionError(
                f"no member of the front of {run.folder} was retested; a gate goes by scores on "
                "fresh seeds (--retest 2)."
            )
        if noise(run.rows) is None:
            raise QuestionError(
                f"the trials of {run.folder} were retested on one seed, so their noise is not "
                "known; a gate needs two or more: the same command with --retest 2 goes on."
            )
