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
setting = Setting("digits-vit", {"name": "digits"}, batch_size=256, max_steps=1)
asked = Segment("s", tuple(Entrant(k, trial) for k in range(16)), 0, 1, setting)
worker.worker_backbone(setting)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
for how in ("tight", "roomy"):
    worker._largest.clear()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    # sixteen trials need over 800, eight under 500
    limit = pages * resource.getpagesize() + 650 * 2**20
    resource.setrlimit(
        resource.RLIMIT_AS, (limit, unlimited[1]) if how == "tight" else unlimited
    )
    results = worker.run(asked, Path(sys.argv[1], how))
    print(json.dumps({"losses": [r.loss for r in results], "reasons": [r.reason for r in results],
                      "largest": list(worker._largest.values())}))
"""


def test_a_pack_halves_itself(tmp_path, environment):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(
        command,
        env={**environment, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tight, roomy = map(json.loads, done.stdout.splitlines()[-2:])
    assert roomy["largest"] == []
    assert tight["largest"], "the limit was never hit"
    assert tight["largest"][0] < 16
    assert tight["reasons"] == [None] * 16
    assert tight["losses"] == pytest.approx(roomy["losses"], abs=1e-5)
