"""lattice(): whole packs of points by the hypervolume that each is expected to add to the others.

Candidates are what the space can make: canonical, new, with exact counts. A Gaussian process over
all scores at all rungs (report/estimates.py) draws worlds, in which every candidate and every trial
has a score, those that are still running too. A pack is put together one by one: the next is the
candidate that adds most, on average over worlds, to the area under the front of all trials and of
those that were picked before it. (Hypervolume improvement: Emmerich et al., IEEE TEC 10(4), 2006;
batches by joint draws: Daulton et al., arXiv 2006.05078.) All trials of a pack cost the same, so
the gain is the gain a second.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.report.estimates import ScoreModel
from tenslora_search.spec.knobs import Choice
from tenslora_search.study.seen import Point, Seen
from tenslora_search.study.sizes import least
from tenslora_search.study.space import SearchSpace

FEWEST_CANDIDATES, MOST_CANDIDATES, CANDIDATES_EACH = 64, 384, 16
NEAR = 0.5
"""Of the candidates: so many are near what leads; the others are anywhere."""
MOST_RIVALS = 160
"""Trials that are drawn beside the candidates: those that may stand on the front."""
WORLDS, PLACES = 64, 40
"""Draws, and sizes at which the front is looked at."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A point that may be proposed, and what it is."""

    point: Point
    n_params: int


def propose(
    space: SearchSpace, seed: int, objective: str, seen: Sequence[Seen], count: int
) -> list[Point]:
    """`count` points; drawn at random until enough trials have a score."""
    generator = random.Random(seed)
    told = _with_failures(seen)
    pool = _candidates(space, generator, told, count)
    model = ScoreModel.fitted(told, [(one.point, one.n_params) for one in pool])
    if model is None:
        return [one.point for one in pool[:count]]
    rivals = _rivals(model, told)
    every = [*pool, *rivals]
    drawn = model.draws(
        [one.point for one in every],
        [one.n_params for one in every],
        WORLDS,
        generator.getrandbits(32),
    )
    chosen = _greedy(drawn, _reached(every, space.budget, objective), len(pool), count)
    return [pool[place].point for place in chosen]


def _reached(every: Sequence[Candidate | Seen], budget: int, objective: str) -> NDArray[np.bool_]:
    """(one, place): whether each is no larger than the size at a place, even in its logarithm."""
    if objective != "front":
        return np.ones((len(every), 1), dtype=np.bool_)
    sizes = np.log([one.n_params for one in every])
    places = np.linspace(float(sizes.min()), math.log(budget), PLACES)
    return sizes[:, None] <= places[None, :] + 1e-9


def _with_failures(seen: Sequence[Seen]) -> list[Seen]:
    """A failed trial counts as the worst score at its end: what made it fail is to be avoided."""
    scores = [(step, score) for one in seen for step, score in one.scores.items()]
    if not scores:
        return list(seen)
    worst = {max(step for step, _ in scores): min(score for _, score in scores)}
    return [replace(one, scores=worst) if one.state == "failed" else one for one in seen]


def _candidates(
    space: SearchSpace, generator: random.Random, seen: Sequence[Seen], count: int
) -> list[Candidate]:
    """New points, no two alike, some of them near what leads; the first `count` are anywhere."""
    n_wanted = max(FEWEST_CANDIDATES, min(MOST_CANDIDATES, CANDIDATES_EACH * count))
    known = {_outline(one.point, one.n_params) for one in seen}
    leaders = _leaders(seen)
    found: list[Candidate] = []
    for n_tried in range(2 * n_wanted):
        is_near = bool(leaders) and len(found) >= count and generator.random() < NEAR
        base: Mapping[str, Any] = generator.choice(leaders).point if is_near else {}
        point = space.nudged(
            base, generator, generator.choice((0.05, 0.15, 0.4)) if is_near else 2.0
        )
        if is_near:
            point = _with_another_name(space, point, generator)
        point = _sized(space, point, generator)
        n_params = space.trial(point, 0).adapter.n_params
        outline = _outline(point, n_params)
        if outline not in known:
            known.add(outline)
            found.append(Candidate(point, n_params))
        if len(found) == n_wanted or (n_tried >= n_wanted and len(found) >= count):
            break
    while found and len(found) < count:
        found += found[: count - len(found)]  # a small space: the study moves what is not new
    return found


def _sized(space: SearchSpace, point: Point, generator: random.Random) -> Point:
    """With a size that the point's structure can have, if it has one below."""
    size = space.parameters["size"]
    if isinstance(size, Choice):
        return point
    low = min(1.0, least(space, point))
    if point["size"] >= low:
        return point
    drawn = math.exp(generator.uniform(math.log(low), math.log(size.high)))
    return {**point, "size": min(size.high, max(size.low, drawn))}


def _with_another_name(space: SearchSpace, point: Point, generator: random.Random) -> Point:
    """Half of the time one of its choices is another."""
    names = [name for name, one in space.searched.items() if isinstance(one, Choice)]
    if not names or generator.random() < 0.5:
        return point
    name = generator.choice(names)
    one = space.searched[name]
    assert isinstance(one, Choice)
    return {**point, name: generator.choice(one.values)}


def _outline(point: Any, n_params: int) -> tuple[Any, ...]:
    """What tells trials apart at a glance: names, the exact count, numbers to two digits."""
    told = sorted((name, one) for name, one in point.items() if name != "size")
    return (
        n_params,
        *((name, float(f"{one:.2g}") if isinstance(one, float) else one) for name, one in told),
    )


def _leaders(seen: Sequence[Seen]) -> list[Seen]:
    """Of the trials that have come furthest those that no other beats in score and size."""
    last = max((max(one.scores) for one in seen if one.scores), default=None)
    top = [one for one in seen if one.scores and max(one.scores) == last and one.state != "failed"]
    found: list[Seen] = []
    for one in sorted(top, key=lambda one: (one.n_params, -(one.score or 0.0), one.number)):
        if not found or (one.score or 0.0) > (found[-1].score or 0.0):
            found.append(one)
    return found


def _rivals(model: ScoreModel, seen: Sequence[Seen]) -> list[Seen]:
    """The trials, those without a score too, that come nearest to the front or above it."""
    mean, error = model.at([one.point for one in seen], [one.n_params for one in seen])
    sizes = np.array([one.n_params for one in seen])
    order = np.lexsort((np.arange(len(seen)), sizes))
    front = np.empty(len(seen))
    front[order] = np.maximum.accumulate(mean[order])
    behind = front - mean - error
    nearest = np.argsort(behind, kind="stable")[:MOST_RIVALS]
    return [seen[place] for place in sorted(nearest.tolist())]


def _greedy(drawn: Floats, reached: NDArray[np.bool_], n_pool: int, count: int) -> list[int]:
    """Places in the pool, the one that adds most first.

    drawn: (one, world) scores; reached: (one, place) whether it is small enough to count there.
    """
    floor = np.quantile(drawn, 0.02)
    rivals, at = drawn[n_pool:], reached[n_pool:]
    front = np.full((drawn.shape[1], reached.shape[1]), floor)
    for score, where in zip(rivals, at, strict=True):
        front = np.where(where, np.maximum(front, score[:, None]), front)
    chosen: list[int] = []
    gains = np.full(n_pool, np.inf)
    while len(chosen) < min(count, n_pool):
        best = -1
        while True:  # gains only shrink as others are picked: most need not be counted again
            place = int(gains.argmax())
            if place == best:
                break
            above = np.maximum(drawn[place][:, None] - front, 0.0)[:, reached[place]]
            gains[place] = above.sum() / drawn.shape[1]
            best = place
        chosen.append(best)
        gains[best] = -1.0
        where, score = reached[best], drawn[best][:, None]
        front = np.where(where, np.maximum(front, score), front)
    return chosen
