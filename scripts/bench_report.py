"""How long the report of a run takes and how large its page is, for runs of 20 to 2,000 trials.

python scripts/bench_report.py > reports/bench_report.md
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic_run import write_run

REPEATS = 3


REPORT = """
import sys, time
from tenslora_search import cli
try:
    cli.main()
finally:
    print(time.process_time(), file=sys.stderr)
"""


def measured(folder: Path) -> tuple[float, float]:
    """Seconds of wall and of processor for the whole command in a process of its own, imports and
    all; the best of a few.
    """
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", REPORT, "report", folder],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append((time.perf_counter() - began, float(done.stderr)))
    return min(found)


def main() -> None:
    print("# Building a report\n")
    print(
        "`python scripts/bench_report.py`: made-up runs of 3 rungs; the whole command, imports "
        "and all six files included;"
    )
    print(f"the best of {REPEATS}, on one core.\n")
    print(
        "| trials | seconds | of processor | report.html, kB | trials.jsonl, kB |\n| --: | --: | "
        "--: | --: | --: |"
    )
    with tempfile.TemporaryDirectory() as place:
        for n_trials in (20, 100, 500, 2000):
            folder = write_run(Path(place, str(n_trials)), n_trials)
            wall, processor = measured(folder)
            sizes = [
                (folder / name).stat().st_size / 1000 for name in ("report.html", "trials.jsonl")
            ]
            print(
                f"| {n_trials:,} | {wall:.2f} | {processor:.2f} | {sizes[0]:.0f} | {sizes[1]:.0f} |"
            )


if __name__ == "__main__":
    main()
