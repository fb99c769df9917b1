"""Ray's start: a cluster on this machine or one that is there, and how many workers it holds."""

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

from tenslora_search.engine.ray_internals import (  # isort: skip
    WAITING_WORKERS,
    moved,
    needed_alone,
    on_loopback,
    own_sessions,
    own_token,
)

import ray
from ray import tune
from ray.exceptions import RayError

from tenslora_search.engine.imports import bring
from tenslora_search.engine.ray_cluster import Cluster, watched
from tenslora_search.engine.source import Place, one_line
from tenslora_search.spec.table import QuestionError


@contextmanager
def started(place: Place) -> Generator[Cluster]:
    """A cluster on this machine, whose workers wait with all imported, or the one at `ray_address`;
    what was started or joined here is left at the end, and of what was started nothing stays.

    `QuestionError` if none answers there, if none can be started, and for what is no callback.
    """
    for one in place.tune_callbacks:
        if not isinstance(one, tune.Callback):
            raise QuestionError(
                "a callback is a function of an event or a ray.tune.Callback; got "
                f"{type(one).__name__}."
            )
    if ray.is_initialized():
        yield Cluster()
        return
    # Failed segments are told of in trials.jsonl.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    token = own_token() if place.ray_address is None else nullcontext()
    with _short_folder() as folder, token:
        cluster = Cluster()
        try:
            if place.ray_address is not None:
                cluster = _join(place.ray_address)
            else:
                own = own_sessions()
                with _imports(), on_loopback(), needed_alone(), own as cluster.processes:
                    _start(place, folder)
            workers(place)  # more GPUs than there are show before model and data are read
            with watched(cluster, place.give_up or _exit):
                try:
                    yield cluster
                finally:
                    if cluster.gone():  # then this may never return
                        ray.shutdown()
        finally:
            ray.shutdown()
            cluster.end()


USED_NEXT = ("tenslora_search.data.task", "transformers.models.auto.modeling_auto")
"""What takes this process longest to import when it reads model and data."""


@contextmanager
def _imports() -> Generator[None]:
    """Imports what is used next while this process waits for Ray's."""
    thread = Thread(target=bring, args=(USED_NEXT,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


LONGEST_TMPDIR = 30
"""Characters: a socket's path has 107 at most, and Ray adds some 75 to the folder it is given."""


@contextmanager
def _short_folder() -> Generator[str | None]:
    """Where Ray is to keep its files, if what the environment names is too long a path for it;
    taken away in the end.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(folder) <= LONGEST_TMPDIR:
        yield None
        return
    try:
        short = tempfile.mkdtemp(prefix="ts-", dir="/tmp")
    except OSError as error:
        raise QuestionError(
            f"TMPDIR is too long a path for Ray: {folder}. Set RAY_TMPDIR to one of at most "
            f"{LONGEST_TMPDIR} characters."
        ) from error
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _start(place: Place, folder: str | None) -> None:
    """A cluster of this machine alone; `QuestionError` where it cannot be started."""
    options: dict[str, Any] = {} if folder is None else {"_temp_dir": folder}
    if not moved():
        options["_system_config"] = WAITING_WORKERS
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=_cores_needed(place),
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise QuestionError(f"Ray cannot be started: {one_line(error)}") from error


def _join(address: str) -> Cluster:
    _knock(address)
    try:
        with _unsaid():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        why = one_line(error).partition(". ")[0].rstrip(".")
        raise QuestionError(
            f"no Ray cluster at --ray-address {address}: {why}.{_hint()}"
        ) from error
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    return Cluster(head=(host, int(port)) if host and port.isdecimal() else None)


@contextmanager
def _unsaid() -> Generator[None]:
    """Within it nothing reaches stderr: where a cluster does not take this process in, Ray's core
    says so every second.
    """
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _hint() -> str:
    """What may be amiss with a cluster that answers and does not take this process in."""
    if "RAY_AUTH_MODE" in os.environ:
        return " If it asks for no token: unset RAY_AUTH_MODE, and try again."
    return " If it asks for a token: RAY_AUTH_MODE=token, and the token in RAY_AUTH_TOKEN."


def _exit(reason: str) -> None:
    """The end of a process in which nobody else can say it any more."""
    print(f"tenslora-search: {reason}.", file=sys.stderr, flush=True)
    os._exit(2)


def _knock(address: str) -> None:
    """`QuestionError` if nobody listens at HOST:PORT: Ray itself would try for minutes, and say so
    in its own words.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like, which Ray looks up at once
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise QuestionError(
            f"no Ray cluster at --ray-address {address}: {one_line(error)}."
        ) from error


def _cores_needed(place: Place) -> int | None:
    """As many as there will be workers on GPUs: Ray keeps one waiting a core. Without GPUs all
    (None).
    """
    gpus = _n_gpus()
    share = _share(place, gpus)
    return max(1, min(os.cpu_count() or 1, _n_workers(gpus, share))) if share else None


DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/kfd", "/dev/dxg")
"""Files of which Linux has one where there is a GPU: of NVIDIA, of AMD, of either within
Windows."""


def _n_gpus() -> int:
    """As torch counts them. It is asked only where there may be one: while it is imported, which
    takes seconds, Ray is to start.
    """
    if sys.platform == "linux" and not any(Path(one).exists() for one in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def _n_workers(gpus: float, share: float) -> int:
    """Workers on so many GPUs: a worker's share of one never lies on two."""
    return int(gpus) * int(1 / share + 1e-9) if share < 1 else int(gpus / share)


def _share(place: Place, gpus: float) -> float:
    """GPUs a worker: as asked, else a whole one where there are any."""
    return place.gpus_per_worker if place.gpus_per_worker is not None else float(gpus > 0)


def workers(place: Place) -> tuple[float, int]:
    """GPUs a worker, and how many workers the cluster holds: one a core without GPUs."""
    found = ray.cluster_resources()
    gpus, cpus = found.get("GPU", 0.0), found.get("CPU", 1.0)
    share = _share(place, gpus)
    if share > gpus:
        raise QuestionError(f"--gpus-per-worker asks for {share:g} GPUs; Ray finds {gpus:g}.")
    return share, max(1, min(int(cpus), _n_workers(gpus, share)) if share else int(cpus))
