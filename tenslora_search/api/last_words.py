"""LastWords: the end of a process that stands in a call which does not return."""

import os
import sys

from tenslora_search.api.finish import finish
from tenslora_search.api.signals import Signals
from tenslora_search.engine.serving import Serving


class LastWords:
    """Says why, in one line, and ends the process: Ray ends it some seconds later, without a word
    of ours. After a signal the report of what there is comes first, and its exit code.
    """

    def __init__(self) -> None:
        self.signals: Signals | None = None
        self.source: Serving | None = None

    def __call__(self, reason: str) -> None:
        code, line = 2, f"{reason}. What was done so far is kept: the same command goes on."
        if self.source is not None:
            self.source.stop(at_once=True)  # whatever the other thread comes back to, it ends
            if self.signals is not None and self.signals.received is not None:
                run = finish(self.source)
                code = 128 + self.signals.received
                line = f"interrupted; {reason}. report: {run.folder / 'report.html'}"
        print(f"tenslora-search: {line}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(code)
