"""EXECUTORS: who runs segments. `inline` in this process; `ray` through Ray Tune, one Tune trial a
segment.

An executor gets ready at a `Place`, and returns what serves a `Source`: takes segments from it and
gives their rows and states back. What a worker needs besides the segment it loads once: backbone
and data stay in it between segments.
"""

from collections.abc import Callable
from functools import partial

from tenslora_search.engine.inline import one_by_one
from tenslora_search.engine.source import Place, Source
from tenslora_search.spec.table import Table


def inline(place: Place) -> Callable[[Source], None]:
    """One segment after another in this process."""
    return partial(one_by_one, place.folder)


def ray(place: Place) -> Callable[[Source], None]:
    """Ray Tune places segments on CPU workers (one core each) or on GPUs, whole or shared, and runs
    a killed one again.

    The workers import what they need while this process goes on.
    """
    from tenslora_search.engine import ray_tune

    ray_tune.start(place)
    return partial(ray_tune.serve, place)


EXECUTORS: Table[Callable[[Place], Callable[[Source], None]]] = Table(
    "executor", {entry.__name__: entry for entry in (ray, inline)}
)
