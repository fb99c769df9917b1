"""Proposals: which points come next, each unlike all before.

They are a pure function of the seed and of what the trials have reached: a search that was ended
and taken up again proposes what an undisturbed one does.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from tenslora_search.runs.events import Earlier, Proposed
from tenslora_search.runs.replay import Record
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.earlier import as_seen, leaders
from tenslora_search.study.known import owed
from tenslora_search.study.promise import CHOICES, Promise
from tenslora_search.study.samplers import Proposer
from tenslora_search.study.seen import Point, Seen
from tenslora_search.study.sizes import settled
from tenslora_search.study.space import SearchSpace

MOST_NUDGES = 300
"""A proposal that repeats another is moved, farther each time and beyond 42 anywhere; then the
space is used up.
"""


New = tuple[Proposed, TrialSpec]
"""A proposal and the specification that it says."""


class Proposals:
    """The known methods come first, behind the first of them what led `earlier` runs, until they
    make up half of all trials, or, if that is more, until each of --methods is there once; then
    `sampler` is asked for the others of a batch at once.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: Callable[[SearchSpace, int, str], Proposer],
        objective: str,
        *,
        n_trials: int,
        seed: int,
        earlier: Sequence[Earlier] = (),
    ) -> None:
        self.space, self.n_trials, self.seed = space, n_trials, seed
        self._sampler, self._objective = sampler, objective
        self._promise = Promise(space) if space.prior.gradient else None
        self._keys: dict[int, str] = {}
        self._earlier = tuple(earlier)
        first = leaders(self._earlier)
        if first:
            first = [*space.seeds()[:1], *first]
        every = [*first, *space.seeds()]
        self._known = {space.key(space.trial(point, 0)): point for point in every}
        self._owed = owed(space, every)
        self.exhausted = False
        """whether the space, or the sampler, has no others"""

    def batches(self, records: Mapping[int, Record], count: int) -> Iterator[list[New]]:
        """`count` new trials or fewer in two batches, known methods and sampled ones; `records` has
        to hold the first of them when the second is asked for.
        """
        n_cut = sum(one.cut_from is not None for one in records.values())
        count = min(count, 0 if self.exhausted else self.n_trials - len(records) + n_cut)
        if count <= 0:
            return
        for number in range(len(self._keys), len(records)):
            self._keys[number] = self.space.key(records[number].spec)
        keys = set(self._keys.values())
        known = self._known_left(keys)[:count]
        if known:
            yield self._proposed(known, len(records), keys, random.Random(self.seed))
        if count > len(known):
            drawn = self.seed if keys <= set(self._known) else _mixed(self.seed, len(records))
            propose = self._sampler(self.space, drawn, self._objective)
            seen = [_seen(one) for one in records.values() if one.cut_from is None]
            told = [*as_seen(self._earlier, seen), *seen]
            wanted = count - len(known)
            n_led = self._promise.n_led(records, wanted, drawn) if self._promise else 0
            points = propose(told, wanted + (CHOICES - 1) * n_led)
            generator = random.Random(drawn)
            points = [self._settled(one, len(records), generator) for one in points]
            is_short = len(points) < wanted
            if self._promise and n_led:
                points = self._promise.chosen(points, wanted, n_led)
            sampled = self._proposed(points, len(records), keys, generator)
            self.exhausted = self.exhausted or is_short
            yield sampled

    def _settled(self, point: Point, n_trials: int, generator: random.Random) -> Point:
        """What a sampler proposed, as the space's prior and the structure's sizes have it."""
        space = self.space
        believed = space.prior.followed(point, space.searched, n_trials, generator)
        return settled(space, believed, generator)

    def _known_left(self, keys: set[str]) -> list[Point]:
        """The known methods that are still to be proposed, those that are owed before others where
        half of all trials is too few for all.
        """
        left = [key for key in self._known if key not in keys]
        half = max(1, self.n_trials // 2) - (len(self._known) - len(left))
        n_owed = sum(key in self._owed for key in left)
        others = [key for key in left if key not in self._owed][: max(0, half - n_owed)]
        wanted = {*others, *self._owed}
        return [self._known[key] for key in left if key in wanted]

    def _proposed(
        self, points: list[Point], first: int, keys: set[str], generator: random.Random
    ) -> list[New]:
        """Trials of the points from number `first` on, each moved as far as it takes to be a new
        one; their keys are added.
        """
        found: list[New] = []
        for point in points:
            number, n_nudges = first + len(found), 0
            spec = self.space.trial(point, self.seed + number)
            while self.space.key(spec) in keys and n_nudges <= MOST_NUDGES:
                reach = 0.02 * 1.1**n_nudges
                moved = self.space.nudged(point, generator, reach=reach)
                point = settled(self.space, moved, generator)
                spec = self.space.trial(point, self.seed + number)
                n_nudges += 1
            if n_nudges > MOST_NUDGES:
                self.exhausted = True
                break
            found.append((Proposed.of(number, point, spec), spec))
            keys.add(self.space.key(spec))
        return found


def _seen(one: Record) -> Seen:
    return Seen(one.number, one.point, one.n_params, one.curve, one.state)


def _mixed(seed: int, n_trials: int) -> int:
    """A seed for a search that already has so many trials: with its first one again it would
    propose the same again.
    """
    return random.Random(f"{seed} {n_trials}").getrandbits(32)
