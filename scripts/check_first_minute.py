"""The README's first command, from five seeds: members on the front, seconds by the clock and of
the processor.

    python scripts/check_first_minute.py --out reports/first_minute.md

Run it alone on two cores. Exit code 1 if a front has fewer than five members.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tenslora_search import load_run

COMMAND = "--budget 20k --task digits --quiet"
LEAST = 5


def searched(executor: str, seed: int, folder: Path) -> dict[str, Any]:
    """One search in a process of its own."""
    words = [sys.executable, "-m", "tenslora_search", *COMMAND.split(), "--executor", executor]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    out = folder / f"{executor}-{seed}"
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    subprocess.run([*words, "--seed", str(seed), "--out", str(out)], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = load_run(out)
    front = run.front()
    return {
        "executor": executor, "seed": seed, "members": len(front),
        "parameters": f"{front['n_params'].min():,} to {front['n_params'].max():,}",
        "select": f"{front['score'].min():.3f} to {front['score'].max():.3f}",
        "complete": int((run.trials()["state"] == "complete").sum()),
        "seconds": f"{time.perf_counter() - began:.0f}",
        "of the processor": f"{after.ru_utime - before.ru_utime:.0f}",
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
    parser.add_argument("--executor", default="inline")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the table as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
