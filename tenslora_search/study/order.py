"""When a study decides what is trained next: `Waves`, at fixed points; `AsTheyCome`, whenever a
worker is free.

An order is asked for segments and told of what came back; the study itself knows how trials are
proposed, judged and handed out.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from tenslora_search.runs.events import Complete, Cut, Event, Paused, Promoted, Proposed, Rung
from tenslora_search.runs.replay import Record, Replay
from tenslora_search.runs.segment import Segment

T = TypeVar("T")
Group = tuple[int, int]
"""Of trials that can be trained together: the rung they stand on (-1: none), and the step that they
are trained to.
"""
FRESH: Group = (-1, 0)
PARTS = (Proposed, Promoted, Paused, Rung, Cut, Complete)
"""Events that others have to follow: a `Wave`, or the end of a segment."""
ROUNDS, LEAST_BATCH, MOST_BATCH = 4, 16, 64
"""New trials come in so many waves, so that the sampler sees scores before its last proposals; so
many a wave at least and at most.
"""
LEAST_PACK = 2
"""A group is not cut into packs of fewer trials than this for the sake of more workers."""


class Trials(Protocol):
    """What an order asks of a study."""

    told: Replay
    rungs: tuple[int, ...]

    @property
    def is_running(self) -> bool: ...
    @property
    def waiting(self) -> Mapping[Group, list[Record]]: ...
    def judge(self, rungs: Sequence[int]) -> int: ...
    def propose(self, count: int) -> list[Record]: ...
    def begin_wave(self) -> None: ...
    def start(self, group: Group, members: Sequence[Record]) -> Segment: ...


class Order(Protocol):
    """When a study decides."""

    def unfinished(self, events: Sequence[Event]) -> int:
        """How many of a journal's last events a crash has cut off from what belongs to them."""
        ...

    def opened(self, study: Trials) -> None:
        """A folder was opened, perhaps after a crash."""
        ...

    def next_segment(self, study: Trials, limit: int, split: int, *, fresh: bool) -> Segment | None:
        """Up to `limit` trials to train next; None while others have to come back first, or nothing
        is left. Without `fresh` no trial is begun any more.
        """
        ...

    def recorded(self, study: Trials, rung: int | None) -> None:
        """A segment was taken down; `rung`: the one on which its trials now stand, None at the
        top.
        """
        ...


class Waves:
    """Decides between waves: the same answer with any number of workers, whoever comes back first,
    and after a kill.

    A wave is all trials that are cleared, each trained to its next rung: a batch of new ones and
    those that were promoted. When the last of them is back every rung is judged and the next are
    proposed. The trials of a rung are cut into `split` packs or more, which are the same ones
    however many workers there are.
    """

    def __init__(self, n_trials: int) -> None:
        self.batch = min(MOST_BATCH, max(LEAST_BATCH, math.ceil(n_trials / ROUNDS)))

    def unfinished(self, events: Sequence[Event]) -> int:
        """Decisions without the wave that they lead to, and rows without the end of their segment:
        they are taken, and trained, once more.
        """
        return len(_unended(events))

    def opened(self, study: Trials) -> None:
        """The next decision is taken when a segment is asked for."""

    def next_segment(self, study: Trials, limit: int, split: int, *, fresh: bool) -> Segment | None:
        """A pack of the highest rung first: it takes longest."""
        groups = _groups(study, fresh=fresh)
        if not groups and not study.is_running:
            self._decide(study, fresh=fresh)
            groups = _groups(study, fresh=fresh)
        if not groups:
            return None
        group = max(groups)
        return study.start(group, self._pack(study, group, groups[group], limit, split))

    def recorded(self, study: Trials, rung: int | None) -> None:
        """Nothing is decided before the wave's end."""

    def _decide(self, study: Trials, *, fresh: bool) -> None:
        n_events = study.judge(range(len(study.rungs) - 1))
        if fresh:
            n_events += len(study.propose(self.batch))
        if n_events:
            study.begin_wave()

    def _pack(
        self, study: Trials, group: Group, waiting: Sequence[Record], limit: int, split: int
    ) -> Sequence[Record]:
        """The next pack of those that the wave began with on this rung, without members that are
        elsewhere.
        """
        step = study.rungs[group[0]] if group[0] >= 0 else 0
        cohort = sorted(number for number, at in study.told.wave.items() if at == step)
        by_number = {one.number: one for one in waiting}
        for pack in packs(cohort, limit, split):
            members = [by_number[number] for number in pack if number in by_number]
            if members:
                return members
        return waiting[:limit]


class AsTheyCome:
    """Decides whenever a worker is free, on what is there by then: no worker waits, and the answer
    depends on who came back first.
    """

    def unfinished(self, events: Sequence[Event]) -> int:
        """Cuts without the end of their segment; any other event stands for itself."""
        cuts = [
            n_events
            for n_events, one in enumerate(_unended(events), start=1)
            if isinstance(one, Proposed) and one.cut_from is not None
        ]
        return max(cuts, default=0)

    def opened(self, study: Trials) -> None:
        """After a crash between a segment's rows and their judgement."""
        study.judge(range(len(study.rungs) - 1))

    def next_segment(self, study: Trials, limit: int, split: int, *, fresh: bool) -> Segment | None:
        """The highest rung with a full pack goes first, then new trials, then what is there."""
        groups = _groups(study, fresh=fresh)
        full = [key for key, members in groups.items() if len(members) >= limit and key[0] >= 0]
        if full:
            return study.start(max(full), groups[max(full)][:limit])
        if not fresh:
            return study.start(max(groups), groups[max(groups)][:limit]) if groups else None
        begun = list(groups.get(FRESH, []))
        begun += study.propose(limit - len(begun))
        if begun:
            return study.start(FRESH, begun[:limit])
        if groups:
            largest = max(groups, key=lambda key: (len(groups[key]), key))
            return study.start(largest, groups[largest][:limit])
        return None

    def recorded(self, study: Trials, rung: int | None) -> None:
        if rung is not None:
            study.judge([rung])


def packs(trials: Sequence[T], limit: int, split: int) -> list[Sequence[T]]:
    """The trials in packs of nearly equal size: at most `limit` each, and `split` of them where
    that leaves two trials or more in each.

    >>> packs(range(10), limit=8, split=3)
    [range(0, 4), range(4, 7), range(7, 10)]
    >>> packs([], limit=0, split=3)
    []
    """
    n = len(trials)
    n_packs = max(math.ceil(n / max(1, limit)), min(split, n // LEAST_PACK), min(n, 1))
    edges = [0]
    for place in range(n_packs):
        edges.append(edges[-1] + n // n_packs + (place < n % n_packs))
    return [trials[first:last] for first, last in itertools.pairwise(edges)]


def _unended(events: Sequence[Event]) -> list[Event]:
    """The last events that others have to follow, the very last first."""
    return list(itertools.takewhile(lambda one: isinstance(one, PARTS), reversed(events)))


def _groups(study: Trials, *, fresh: bool) -> Mapping[Group, list[Record]]:
    return {key: members for key, members in study.waiting.items() if fresh or key != FRESH}
