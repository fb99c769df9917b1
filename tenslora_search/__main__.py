"""The command `tenslora-search`, and `python -m tenslora_search`."""

import os
import signal
from types import FrameType


def main() -> None:
    """`cli.main`; Ctrl-C while it is imported ends the process at once, since nothing is begun."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from tenslora_search import cli

    signal.signal(signal.SIGINT, before)
    try:
        cli.main()
    except KeyboardInterrupt:  # before or after what it answers by itself
        _leave(signal.SIGINT, None)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"tenslora-search: interrupted.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
