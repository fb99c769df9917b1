"""share(): files that others may read as far as the umask allows; safetensors and tempfile make
theirs private.
"""

import os
from contextlib import suppress
from pathlib import Path


def share(path: Path) -> Path:
    """Gives a file, or a folder and all in it, the modes that plain writing would have given;
    returns it.
    """
    umask = os.umask(0o077)  # it cannot be read without being set
    os.umask(umask)
    for one in (path, *path.rglob("*")):
        wanted = 0o777 if one.is_dir() else 0o666
        with suppress(OSError):  # a disk without modes
            one.chmod((one.stat().st_mode | wanted) & ~umask)
    return path
