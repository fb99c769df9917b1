"""How long quick answers take: microseconds for each construction x decomposition on roberta-base,
seconds for the commands.

python scripts/bench_count.py --out reports/bench_count.md
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.structure import Structure

REPEATS, ROUNDS = 400, 5
COMMANDS = {  # with the seconds they may take
    "count --model roberta-base --construction qkv_depth --decomposition tucker --ranks "
    "59,59,3,12": 0.3,
    "--help": 0.4,
    "--budget 300k --task sst2 --dry-run": 1.0,
}


def microseconds(call: Callable[[], object]) -> float:
    """The best of some rounds, for one call."""
    call()
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REPEATS):
            call()
        rounds.append((time.perf_counter() - start) / REPEATS * 1e6)
    return min(rounds)


def seconds(words: str) -> tuple[float, float]:
    """The best of some runs of the command, Python's start included: from start to end, and of the
    processor.
    """
    command = [sys.executable, "-m", "tenslora_search", *words.split()]
    whole, busy = [], []
    for _ in range(ROUNDS):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        whole.append(time.perf_counter() - start)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(whole), min(busy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    geometry = geometry_of_model("roberta-base")
    lines = [
        "# Quick answers: counts and commands without torch",
        "",
        "Microseconds on roberta-base at 300,000 parameters: of the bare `Structure.count(...)` / "
        "of `AdapterSpec.of(...).n_params`,",
        f"which checks names, ranks and caps too; best of {ROUNDS} rounds of {REPEATS}.",
        "Made by `python scripts/bench_count.py --out reports/bench_count.md`.",
        "",
        f"| | {' | '.join(DECOMPOSITIONS)} |",
        f"| --- {'| --: ' * len(DECOMPOSITIONS)}|",
    ]
    for construction in CONSTRUCTIONS:
        cells = []
        for decomposition in DECOMPOSITIONS:
            structure = Structure.of(construction, decomposition, geometry)
            ranks = proportional(structure, 300_000)
            what = (construction, decomposition, ranks, geometry)
            bare = microseconds(lambda one=structure, ranks=ranks: one.count(ranks))
            whole = microseconds(lambda what=what: AdapterSpec.of(*what).n_params)
            cells.append(f"{bare:.1f} / {whole:.1f}")
        lines.append(f"| {construction} | {' | '.join(cells)} |")
    lines += [
        "",
        "| command, from the shell | seconds | of the processor | at most |",
        "| --- | --: | --: | --: |",
    ]
    for words, most in COMMANDS.items():
        whole, busy = seconds(words)
        lines.append(f"| `tenslora-search {words}` | {whole:.2f} | {busy:.2f} | {most} |")
    print(*lines, sep="\n")
    if out:
        out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
