"""The README's first command, from five seeds: members on the front, seconds by the clock and of
the processor, by all processes that the search starts.

    python scripts/check_first_minute.py --out reports/first_minute.md

Run it alone on two cores. Exit code 1 if a front has fewer than five members.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from tenslora_search import load_run

COMMAND = "--budget 20k --task digits --quiet"
LEAST = 5


MARK = "TENSLORA_CHECK"
"""An environment variable that all processes of one search have, and no others."""


class Meter(threading.Thread):
    """Seconds of the processor of all processes that a mark in their environment names (Linux)."""

    def __init__(self, mark: str) -> None:
        super().__init__(daemon=True)
        self.mark, self.seconds = mark.encode(), dict[str, float]()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if self.mark in (process / "environ").read_bytes():
                        words = (process / "stat").read_text().rpartition(")")[2].split()
                        ticks = int(words[11]) + int(words[12])
                        self.seconds[process.name] = ticks / os.sysconf("SC_CLK_TCK")
                except OSError:
                    pass  # it has ended meanwhile

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def searched(executor: str, seed: int, folder: Path) -> dict[str, Any]:
    """One search in a process of its own."""
    words = [sys.executable, "-m", "tenslora_search", *COMMAND.split(), "--executor", executor]
    out, mark = folder / f"{executor}-{seed}", uuid.uuid4().hex
    meter, began = Meter(mark), time.perf_counter()
    meter.start()
    environment = os.environ | {MARK: mark}
    subprocess.run([*words, "--seed", str(seed), "--out", str(out)], check=True, env=environment)
    seconds = time.perf_counter() - began
    meter.ended.set()
    run = load_run(out)
    front = run.front()
    return {
        "executor": executor, "seed": seed, "members": len(front),
        "parameters": f"{front['n_params'].min():,} to {front['n_params'].max():,}",
        "select": f"{front['score'].min():.3f} to {front['score'].max():.3f}",
        "complete": int((run.trials()["state"] == "complete").sum()),
        "seconds": f"{seconds:.0f}",
        "of the processor": f"{meter.total:.0f}",
    }  # fmt: skip


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        rows = [searched(options.executor, seed, Path(folder)) for seed in range(options.seeds)]
    text = page(rows)
    print(text)
    if options.out:
        options.out.write_text(text)
    return 0 if all(row["members"] >= LEAST for row in rows) else 1


def page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# The README's first command, from several seeds",
        "",
        "`python scripts/check_first_minute.py --out reports/first_minute.md`",
        "",
        f"`tenslora-search {COMMAND} --seed SEED`, each in a process of its own, start and report "
        f"included, on {os.cpu_count()} cores.",
        "",
        f"| {' | '.join(rows[0])} |",
        f"| {' | '.join('---' for _ in rows[0])} |",
        *(f"| {' | '.join(map(str, row.values()))} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executor", default="ray")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
