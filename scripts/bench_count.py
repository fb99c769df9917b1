"""How long a count takes: microseconds for each construction x decomposition on roberta-base, seconds for the command.

python scripts/bench_count.py
"""

import subprocess
import sys
import time

from tenslora_search.spec.adapter import AdapterSpec, count
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS

REPEATS = 2000
ARGUMENTS = "count --model roberta-base --construction qkv_depth --decomposition tucker --ranks 59,59,3,12".split()


def microseconds(call) -> float:
    """The best of 5 rounds, for one call."""
    call()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(REPEATS // 5):
            call()
        rounds.append((time.perf_counter() - start) / (REPEATS // 5) * 1e6)
    return min(rounds)


def main() -> None:
    geometry = geometry_of_model("roberta-base")
    print(f"{'construction':>14}" + "".join(f"{name:>22}" for name in DECOMPOSITIONS))
    print(f"{'':>14}" + f"{'count / validated':>22}" * len(DECOMPOSITIONS))
    worst = 0.0
    for construction in CONSTRUCTIONS:
        cells = []
        for decomposition in DECOMPOSITIONS:
            what = (construction, decomposition, proportional(construction, decomposition, geometry, 300_000), geometry)
            bare = microseconds(lambda what=what: count(*what))
            whole = microseconds(lambda what=what: AdapterSpec.of(*what).n_params)
            worst = max(worst, bare)
            cells.append(f"{bare:.1f} / {whole:.1f}")
        print(f"{construction:>14}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"microseconds; the slowest count takes {worst:.1f}")
    seconds, answer = [], ""
    for _ in range(5):
        start = time.perf_counter()
        command = [sys.executable, "-c", "from tenslora_search.cli import main; main()", *ARGUMENTS]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        seconds.append(time.perf_counter() - start)
    print(f"tenslora-search {' '.join(ARGUMENTS)}: {answer} in {min(seconds):.2f} s")


if __name__ == "__main__":
    main()
