"""EXECUTORS: who does the work of a search. `inline` in this process; `ray` through Ray Tune, one
Tune trial a piece of work.

An executor gets ready at a `Place`; as a context it gives what serves a `Source`, and ends what it
has started. What a worker needs besides the work it loads once: backbone and data stay in it.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from tenslora_search.engine.source import Place, Source, one_line
from tenslora_search.spec.table import QuestionError, Table

Serve = Callable[[Source], None]


@contextmanager
def inline(place: Place) -> Generator[Serve]:
    """One piece of work after another in this process."""
    from tenslora_search.engine.inline import one_by_one

    yield partial(one_by_one, place.folder)


@contextmanager
def ray(place: Place) -> Generator[Serve]:
    """Ray Tune places segments on CPU workers (one core each) or on GPUs, whole or shared, and runs
    a killed one again.

    The workers import what they need while this process goes on. A cluster that was started here is
    shut down at the end; one that was there stays.
    """
    try:
        from tenslora_search.engine.ray_start import started
        from tenslora_search.engine.ray_tune import serve
    except (ImportError, RuntimeError, OSError, ValueError) as error:  # it reads the environment
        raise QuestionError(
            f"Ray cannot be imported: {one_line(error)} Mend that, or take --executor inline."
        ) from error

    with started(place) as cluster:
        yield partial(serve, place, cluster)


EXECUTORS: Table[Callable[[Place], AbstractContextManager[Serve]]] = Table(
    "executor", {entry.__name__: entry for entry in (ray, inline)}
)
