"""Cluster: what Ray depends on, played by processes that sleep; Ray itself is killed in
tests/trouble.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenslora_search.engine import ray_cluster, ray_start
from tenslora_search.engine.ray_cluster import Cluster, watched
from tenslora_search.spec.table import QuestionError


@pytest.fixture
def raylet():
    """A process called raylet that leads a session and has a child in a group of its own."""
    spawn = "import subprocess; subprocess.Popen(['sleep', '60'], process_group=0)"
    code = f"{spawn}; print('up', flush=True); import time; time.sleep(60)"
    process = subprocess.Popen(
        ["raylet", "-c", code], executable=sys.executable, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_what_has_ended_is_told_and_what_is_left_of_it_goes(raylet):
    cluster = Cluster([raylet])
    assert cluster.gone() == ""
    raylet.kill()
    raylet.wait()
    assert cluster.gone() == "Ray's raylet has ended by SIGKILL"
    assert members(raylet.pid)
    cluster.end()
    deadline = threading.Event()
    while members(raylet.pid):  # killed ones stay until their parent has looked
        assert not deadline.wait(0.05)


def test_a_head_elsewhere_is_knocked_at():
    cluster = Cluster(head=("127.0.0.1", 9))
    said = [cluster.look() for _ in range(ray_cluster.KNOCKS)]
    assert said[:-1] == [""] * (ray_cluster.KNOCKS - 1)
    assert said[-1] == "the Ray cluster at 127.0.0.1:9 no longer answers"


def test_who_does_not_come_back_is_given_up(raylet, monkeypatch):
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.1)
    told, given_up = [], threading.Event()
    with watched(Cluster([raylet]), lambda what: (told.append(what), given_up.set())):
        assert not given_up.wait(0.6)
        os.kill(raylet.pid, signal.SIGTERM)
        assert given_up.wait(20)
    assert told == ["Ray's raylet has ended by SIGTERM"]


def test_who_comes_back_is_not(raylet, monkeypatch):
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.5)
    told = []
    with watched(Cluster([raylet]), told.append):
        raylet.kill()
    assert told == []


def test_a_cluster_of_our_own_is_not_open_to_other_machines(monkeypatch):
    from ray._private import services, worker

    from tenslora_search.engine.ray_internals import on_loopback

    monkeypatch.setattr(worker, "_global_node", None)  # the address would be that of a running Ray
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"


def test_a_token_that_is_asked_for_and_missing_is_one_line(monkeypatch):
    import ray
    from ray.exceptions import AuthenticationError

    def no_token(**_):
        raise AuthenticationError("Token authentication is enabled but no token was found. Ensure")

    monkeypatch.setattr(ray, "init", no_token)
    monkeypatch.setattr(ray_start, "_knock", lambda address: None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(QuestionError, match=r"no token was found\. .*unset RAY_AUTH_MODE"):
        ray_start._join("127.0.0.1:1")
