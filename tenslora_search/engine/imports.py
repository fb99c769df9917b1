"""bring(): imports that take seconds, without the collector's share of them."""

import gc
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module


def bring(names: Sequence[str]) -> None:
    """Imports modules that are used later; what fails says so when it is used.

    Meanwhile the collector of cycles is off: it would look through all that is there again and
    again, a tenth of the time, and find nothing.
    """
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            with suppress(Exception):
                import_module(name)
    finally:
        if is_enabled:
            gc.enable()
