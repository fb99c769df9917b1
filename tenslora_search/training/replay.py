"""Replay: a step of a pack as CUDA graphs, one a width: hundreds of small kernels are launched at
once.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch


class Replay:
    """Runs `step(width)`, which reads and writes only tensors that stay in place, on the CPU as it
    is.

    On a GPU the first steps run as they are, to warm up; then a width that comes often enough is
    recorded once and replayed. A model that cannot be recorded (it waits for the GPU amid a step)
    runs on as it is.
    """

    def __init__(self, step: Callable[[int], None], device: torch.device) -> None:
        self._step = step
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._records = device.type == "cuda"
        self._n_run = 0
        self._left: Counter[int] = Counter()
        """steps that are still to come, by width"""
        self._pool = torch.cuda.graph_pool_handle() if self._records else None

    @property
    def records(self) -> bool:
        return self._records

    def expect(self, widths: Sequence[int]) -> None:
        """Says which steps will be asked for, in however many calls: what comes often among them
        pays.
        """
        self._left.update(widths)

    def run(self, widths: Sequence[int], before: Callable[[int], None]) -> None:
        """A step for each width in turn; `before(index)` puts the step's inputs into place."""
        for index, width in enumerate(widths):
            before(index)
            if (
                self._records
                and self._n_run >= WARM_UPS
                and width not in self._graphs
                and self._left[width] >= WORTHWHILE
            ):
                self._record(width)
            graph = self._graphs.get(width)
            if graph is not None:
                graph.replay()
            else:
                self._step(width)
            self._left[width] -= 1
            self._n_run += 1

    def forget(self) -> None:
        """Gives the memory of the graphs back at once: they and the pack that steps hold each
        other.
        """
        self._graphs.clear()
        self._step = _forgotten

    def _record(self, width: int) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                self._step(width)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            self._records = False
            torch.cuda.synchronize()
        else:
            self._graphs[width] = graph


def _forgotten(width: int) -> None:
    raise RuntimeError("this pack has ended")


WARM_UPS = 2
"""Steps of a pack before any is recorded: libraries set themselves up in them."""
WORTHWHILE = 4
"""Recording costs about as much as two steps that are not replayed."""
