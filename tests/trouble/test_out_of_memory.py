"""Memory really runs out: the pack halves itself and goes on, with the results it would have
had."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, resource, sys, torch
from pathlib import Path
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.runs.segment import Entrant, Segment, Setting
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.backbone import ready
from tenslora_search.training import segment as worker

ready.cpu_multiplies_bfloat16 = lambda: False  # the same need of memory on every machine
torch.set_num_threads(1)
geometry = geometry_of_model("digits-vit")
trial = TrialSpec(AdapterSpec.of("none", "cp", (2,), geometry), 1e-2, 5e-3)
setting = Setting("digits-vit", {"name": "digits"}, batch_size=256, max_steps=2)
asked = Segment("s", tuple(Entrant(k, trial) for k in range(16)), 0, 2, setting)
worker.worker_backbone(setting)
if sys.argv[2] == "limited":
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    # sixteen trials need over 800, eight under 500
    limit = pages * resource.getpagesize() + 650 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
results = worker.run(asked, Path(sys.argv[1]))
print(json.dumps({"losses": [r.loss for r in results], "reasons": [r.reason for r in results],
                  "largest": list(worker._largest.values())}))
"""


def run(folder, environment, how: str) -> dict:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), how]
    done = subprocess.run(
        command,
        env={**environment, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_pack_halves_itself(tmp_path, environment):
    roomy, tight = (
        run(tmp_path / "roomy", environment, "roomy"),
        run(tmp_path / "tight", environment, "limited"),
    )
    assert roomy["largest"] == []
    assert tight["largest"], "the limit was never hit"
    assert tight["largest"][0] < 16
    assert tight["reasons"] == [None] * 16
    assert tight["losses"] == pytest.approx(roomy["losses"], abs=1e-5)
