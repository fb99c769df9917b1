"""Executors: every segment comes back once, with its rows and states or with the reason."""

import json
import math
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenslora_search.engine.executors import EXECUTORS
from tenslora_search.engine.source import Place, n_threads, one_line
from tenslora_search.runs.segment import Entrant, Probe, Segment, Setting, TrialResult
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.probes import capacity_key, remember

PATIENCE = 120.0
"""Seconds that a worker may take to start on a machine that does much else."""
ADAPTER = AdapterSpec.of("none", "cp", (1,), geometry_of_model("digits-vit"))


def segment(name: str, model: str = "digits-vit") -> Segment:
    trial = TrialSpec(ADAPTER, 1e-2, 5e-3)
    setting = Setting(model, {"name": "digits"}, batch_size=8, max_steps=2)
    return Segment(name, (Entrant(0, trial), Entrant(1, trial)), 0, 2, setting)


PROBE = Probe("pack_size", segment("a").setting, (segment("a").entrants[0].spec,))


class Given:
    """A source of given segments that remembers what came back."""

    interrupted = False
    seconds_left = math.inf

    def __init__(self, *segments: Segment | Probe) -> None:
        self.left, self.out = list(segments), 0
        self.answers: dict[str, tuple[float, ...]] = {}
        self.rows: dict[str, list[TrialResult]] = {}
        self.files: dict[str, list[str]] = {}
        self.reasons: dict[str, str] = {}

    @property
    def done(self) -> bool:
        return not self.left and not self.out

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        self.n_workers = n_workers

    def next_work(self) -> Segment | Probe | None:
        if not self.left:
            return None
        self.out += 1
        return self.left.pop(0)

    def finished(self, segment, results, folder: Path, seconds: float) -> None:
        self.out -= 1
        assert segment.id not in self.rows
        self.rows[segment.id] = list(results)
        self.files[segment.id] = sorted(path.name for path in folder.glob("*.safetensors"))

    def stands_at(self, segment, step: int) -> None: ...

    def answered(self, probe, answer) -> None:
        self.out -= 1
        self.answers[probe.id] = answer

    def failed(self, segment, reason: str) -> None:
        self.out -= 1
        self.reasons[segment.id] = reason


def serve(executor: str, folder: Path, source) -> None:
    with EXECUTORS[executor](Place(folder)) as run:
        run(source)


@pytest.fixture
def worker(monkeypatch):
    """Puts a function in the place of the trainer's `run`."""
    return lambda function: monkeypatch.setattr("tenslora_search.training.segment.run", function)


def scored(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
    for number in segment.numbers:
        (folder / f"{number}.safetensors").touch()
    return [TrialResult(number, segment.to_step, 0.5, 1.0, None, 0.1) for number in segment.numbers]


def test_inline_brings_back_rows_and_states(worker, tmp_path):
    worker(scored)
    source = Given(segment("a"), segment("b"))
    serve("inline", tmp_path, source)
    assert source.done
    assert [row.number for row in source.rows["a"] + source.rows["b"]] == [0, 1, 0, 1]
    assert source.files == {
        "a": ["0.safetensors", "1.safetensors"],
        "b": ["0.safetensors", "1.safetensors"],
    }
    assert list(tmp_path.iterdir()) == []


def test_inline_goes_on_after_an_error(worker, tmp_path):
    def fails_once(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
        if segment.id == "a":
            raise ArithmeticError("first line\n  singular matrix  \n")
        return scored(segment, folder)

    worker(fails_once)
    source = Given(segment("a"), segment("b"))
    serve("inline", tmp_path, source)
    assert source.reasons == {"a": "singular matrix"}
    assert list(source.rows) == ["b"]


def test_a_wrong_question_ends_the_search(worker, tmp_path):
    def asks(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
        raise QuestionError("no such data")

    worker(asks)
    with pytest.raises(QuestionError, match="no such data"):
        serve("inline", tmp_path, Given(segment("a")))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_source_gets_no_more_segments(worker, tmp_path):
    source = Given(segment("a"), segment("b"))

    def interrupts(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
        source.interrupted = True
        return scored(segment, folder)

    worker(interrupts)
    serve("inline", tmp_path, source)
    assert list(source.rows) == ["a"]
    assert [one.id for one in source.left] == ["b"]


def test_one_line_is_the_last_that_says_something():
    assert (
        one_line("Traceback:\n  File ...\nValueError: too few rows\n\n")
        == "ValueError: too few rows"
    )
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line(KeyError("pixel_values")) == "KeyError: 'pixel_values'"
    assert len(one_line("x" * 1000)) == 300


def test_nobody_at_the_ray_address_is_told_at_once(tmp_path):
    from tenslora_search.engine.ray_start import started

    with (
        socket.socket() as bound
    ):  # bound but not listening: nobody else has the port, and nobody answers
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with (
            pytest.raises(QuestionError, match="no Ray cluster at --ray-address"),
            started(Place(tmp_path, ray_address=address)),
        ):
            pass


def test_workers_that_find_nothing_to_do_are_kept():
    """Tune ends all idle workers but one, and with each the backbone that it has loaded."""
    cache = pytest.importorskip("tenslora_search.engine.ray_internals").kept_workers()
    assert all(cache.cache_object("a GPU", worker) for worker in ("first", "second"))
    assert list(cache.flush_cached_objects()) == []
    assert [cache.pop_cached_object("a GPU") for _ in range(3)] == ["first", "second", None]
    assert cache.cache_object("a GPU", "first")
    assert list(cache.flush_cached_objects(force_all=True)) == ["first"]


class Everything(Given):
    """Two segments and a probe; short segments until two workers have run one, or too long has
    passed; then one by one a segment that fails, and one whose return is an error of the source.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(segment("a"), PROBE, segment("b"))
        self.then = [segment("lost", "no/such-model"), segment("last")]
        self.folder, self.until = folder, time.monotonic() + PATIENCE

    @property
    def done(self) -> bool:
        return super().done and not self.then

    @property
    def workers(self) -> set[int]:
        """Process numbers; of a slow segment Tune writes several rows, the last perhaps in part."""
        texts = [path.read_text() for path in self.folder.glob("ray/segments/*/result.json")]
        return {int(pid) for text in texts for pid in re.findall(r'"pid": (\d+),', text)}

    def next_work(self) -> Segment | Probe | None:
        if not self.left and len(self.workers) < 2 and time.monotonic() < self.until:
            self.left = [segment(f"s{len(self.rows)}-{self.out}")]
        elif not self.left and not self.out and self.then:
            self.left = [self.then.pop(0)]
        return super().next_work()

    def finished(self, segment, results, folder: Path, seconds: float) -> None:
        if segment.id == "last":
            raise ConnectionError("the dashboard is gone")
        super().finished(segment, results, folder, seconds)


def waiting_workers() -> set[int]:
    """Processes that the raylet of this one has started, and that have torch loaded; nothing has
    been asked of them.
    """
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_worker = b"ray::IDLE" in (entry / "cmdline").read_bytes()
            if is_worker and parent(parent(int(entry.name))) == os.getpid():
                found |= (
                    {int(entry.name)} if b"libtorch" in (entry / "maps").read_bytes() else set()
                )
    return found


def parent(number: int) -> int:
    stat = Path(f"/proc/{number}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


@pytest.fixture(scope="class")
def under_ray(tmp_path_factory):
    """One Ray on two cores, as a search starts it: the workers that waited, and what came back."""
    ray = pytest.importorskip("ray")
    from ray import tune

    from tenslora_search.engine import ray_start

    folder, once = tmp_path_factory.mktemp("ray"), tune.FailureConfig(max_failures=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(ray_start, "_cores_needed", lambda place: 2)
        patch.setattr("tenslora_search.engine.ray_internals.PATIENCE", PATIENCE)
        patch.setattr(tune, "FailureConfig", lambda max_failures: once)
        remember(capacity_key(PROBE.setting), 24)
        with ray_start.started(Place(folder)) as cluster:
            until = time.monotonic() + PATIENCE
            while len(waited := waiting_workers()) < 2 and time.monotonic() < until:
                time.sleep(0.2)
            source = Everything(folder)
            with pytest.raises(ConnectionError, match="the dashboard is gone"):
                serve("ray", folder, source)
            programs = sorted(Path(one.args[0]).name for one in cluster.processes)
            yield SimpleNamespace(waited=waited, source=source, folder=folder, programs=programs)
    assert not ray.is_initialized(), "what was started for a search ends with it"


@pytest.mark.slow
class TestTwoWorkers:
    """All but the last read what the one session left. That an error of the source in `finished`
    ended it, the fixture asserts: Tune itself would swallow it and wait for ever.
    """

    def test_they_wait_with_all_imported_and_segments_wait_for_them(self, under_ray):
        """Tune gives a segment to the first worker that is free, and takes the start of the second
        back, again and again; and its trials each start a worker of their own.
        """
        assert len(under_ray.waited) == 2
        assert under_ray.source.workers == under_ray.waited

    def test_only_what_a_search_needs_of_ray_is_started(self, under_ray):
        assert under_ray.programs == ["gcs_server", "raylet"]

    def test_ray_and_inline_agree(self, under_ray, tmp_path):
        found, expected = under_ray.source, Given(segment("a"), PROBE, segment("b"))
        serve("inline", tmp_path, expected)
        for key in ("a", "b"):
            assert found.files[key] == expected.files[key]
            pairs = zip(found.rows[key], expected.rows[key], strict=True)
            for one, other in pairs:
                assert (one.number, one.step, one.score, one.reason) == (
                    other.number, other.step, other.score, other.reason,
                )  # fmt: skip
                assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert found.answers == expected.answers == {"probe-pack_size": (24.0,)}
        assert list(under_ray.folder.glob("ray/segments/a-*/result.json"))

    def test_ray_tells_why_a_segment_failed(self, under_ray):
        assert list(under_ray.source.reasons) == ["lost"]
        assert "no/such-model" in under_ray.source.reasons["lost"]

    def test_an_error_of_the_source_that_hands_out_ends_the_search(self, under_ray, tmp_path):
        class Broken(Given):
            def next_work(self):
                raise ConnectionError("the dashboard is gone")

        with pytest.raises(ConnectionError, match="the dashboard is gone"):
            serve("ray", tmp_path, Broken(segment("a")))


def test_what_is_no_callback_is_told_before_ray_starts(tmp_path):
    started = pytest.importorskip("tenslora_search.engine.ray_start").started
    with (
        pytest.raises(
            QuestionError, match=r"a function of an event or a ray\.tune\.Callback; got int"
        ),
        started(Place(tmp_path, tune_callbacks=(3,))),
    ):
        pass


def test_a_full_disk_ends_the_search_and_fails_no_trial(tmp_path):
    ray_tune = pytest.importorskip("tenslora_search.engine.ray_tune")
    from tenslora_search.engine.ray_cluster import Cluster

    source, outcomes = Given(segment("a")), ray_tune.Outcomes()
    segments = ray_tune.Segments(source, outcomes, 1, tmp_path, Cluster())
    assert segments.suggest("0")["id"] == "a"
    outcomes.trials["0"] = SimpleNamespace(error_file=tmp_path / "error.txt")
    (tmp_path / "error.txt").write_text(
        "Traceback ...\nOSError: [Errno 28] Error writing bytes: No space left on device\n"
    )
    segments.on_trial_complete("0", error=True)
    assert (
        str(segments.error)
        == f"cannot write in {tmp_path}: No space left on device. What was done so far is kept."
    )
    assert source.reasons == {}
    assert segments.suggest("1") == "FINISHED"


@pytest.mark.parametrize(
    ("gpus", "share", "expected"),
    [(2, 1, 2), (2, 0.5, 4), (2, 0.6, 2), (2, 0.4, 4), (1, 0.1, 10), (4, 2, 2)],
)
def test_a_share_of_a_gpu_does_not_lie_on_two(gpus, share, expected):
    assert (
        pytest.importorskip("tenslora_search.engine.ray_start")._n_workers(gpus, share) == expected
    )


@pytest.mark.parametrize(("drivers", "n_gpus"), [((), 0), (("/",), 3)])
def test_torch_counts_gpus_where_there_is_a_driver_for_them(monkeypatch, drivers, n_gpus):
    """Elsewhere nobody waits until it is imported."""
    ray_start = pytest.importorskip("tenslora_search.engine.ray_start")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ray_start, "DRIVERS", drivers)
    assert ray_start._n_gpus() == n_gpus


def test_a_worker_that_has_imported_torch_uses_one_core(worker, monkeypatch):
    import torch

    ray_tune = pytest.importorskip("tenslora_search.engine.ray_tune")
    worker(scored)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which a worker without a GPU sets
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ray_tune.tune, "report", lambda *reported, **more: None)
    monkeypatch.setattr(ray_tune.ray, "get_gpu_ids", list)  # outside a worker it starts Ray
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        work = json.dumps(segment("a").to_json())
        ray_tune.train_segment({"kind": "segment", "work": work, "seconds_left": None})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "expected"),
    [(None, 1), ("", 1), ("4", 4), ("4,2", 4), (" 3 ", 3), ("0", 1), ("many", 1), ("9" * 30, 1)],
)
def test_threads_whatever_the_environment_says(monkeypatch, said, expected):
    if said is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert n_threads() == expected


def test_inline_gives_the_threads_back(worker, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    used = []

    def counts(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
        used.append(torch.get_num_threads())
        return scored(segment, folder)

    worker(counts)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        serve("inline", tmp_path, Given(segment("a")))
        assert (used, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_a_segment_is_told_when_time_is_up(worker, tmp_path):
    told = []

    def asks(segment: Segment, folder: Path, is_over=None) -> list[TrialResult]:
        told.append(is_over())
        source.interrupted = True
        told.append(is_over())
        return scored(segment, folder)

    worker(asks)
    source = Given(segment("a"))
    serve("inline", tmp_path, source)
    source = Given(segment("b"))
    source.seconds_left = -1.0
    serve("inline", tmp_path, source)
    assert told == [False, True, True, True]


def test_what_is_private_in_ray_is_where_it_was():
    """Fails with the names of what moved: read ray_internals against the new version."""
    pytest.importorskip("ray")
    from tenslora_search.engine.ray_internals import moved

    assert moved() == []


def test_another_ray_is_used_as_it_is(monkeypatch, caplog):
    pytest.importorskip("ray")
    from ray.tune import tune as tune_loop

    from tenslora_search.engine import ray_internals

    gone = "ray.tune.nowhere:Gone"
    monkeypatch.setattr(ray_internals, "PRIVATE", (*ray_internals.PRIVATE, gone))
    before = tune_loop.TuneController
    with ray_internals.tune_adapted():
        assert tune_loop.TuneController is before
    assert gone in caplog.text


def test_a_start_of_ray_that_fails_is_one_line(monkeypatch, tmp_path):
    ray_start = pytest.importorskip("tenslora_search.engine.ray_start")

    def fails(**options):
        raise OSError("AF_UNIX path length cannot exceed 107 bytes")

    monkeypatch.setattr(ray_start.ray, "init", fails)
    monkeypatch.setattr(ray_start.ray, "shutdown", lambda: None)
    with (
        pytest.raises(QuestionError, match="Ray cannot be started: AF_UNIX path length"),
        ray_start.started(Place(tmp_path)),
    ):
        pass


def test_a_long_tmpdir_gives_ray_a_short_folder_of_its_own(monkeypatch):
    ray_start = pytest.importorskip("tenslora_search.engine.ray_start")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/a/long/folder/of/a/cluster/that/schedules/jobs")
    with ray_start._short_folder() as folder:
        assert len(folder) <= ray_start.LONGEST_TMPDIR
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
    monkeypatch.setenv("TMPDIR", "/tmp")
    with ray_start._short_folder() as folder:
        assert folder is None
