"""The command `tenslora-search`, and `python -m tenslora_search`."""

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """`cli.main`; Ctrl-C while it is imported ends the process at once, since nothing is begun."""
    is_main = threading.current_thread() is threading.main_thread()
    is_usual = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    from tenslora_search import cli

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    except KeyboardInterrupt:  # before or after what it answers by itself
        print("tenslora-search: interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"tenslora-search: interrupted.\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
