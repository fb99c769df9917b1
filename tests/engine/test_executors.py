"""Executors: every segment comes back once, with its rows and states or with the reason."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenslora_search.engine.executors import EXECUTORS, inline
from tenslora_search.engine.source import Place, one_line
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import geometry_of_model
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import Segment, TrialResult, TrialSpec
from tenslora_search.training.probes import capacity_key, remember

ADAPTER = AdapterSpec.of("none", "cp", (1,), geometry_of_model("digits-vit"))


def segment(name: str, model: str = "digits-vit") -> Segment:
    trial = TrialSpec(ADAPTER, 1e-2, 5e-3)
    return Segment(
        name, ((0, trial), (1, trial)), (None, None), 0, 2, 2, 8, model, {"name": "digits"}
    )


class Given:
    """A source of given segments that remembers what came back."""

    interrupted = False

    def __init__(self, *segments: Segment) -> None:
        self.left, self.out = list(segments), 0
        self.rows: dict[str, list[TrialResult]] = {}
        self.files: dict[str, list[str]] = {}
        self.reasons: dict[str, str] = {}

    @property
    def done(self) -> bool:
        return not self.left and not self.out

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        self.n_workers = n_workers

    def next_segment(self) -> Segment | None:
        if not self.left:
            return None
        self.out += 1
        return self.left.pop(0)

    def finished(self, segment, results, folder: Path, seconds: float) -> None:
        self.out -= 1
        assert segment.id not in self.rows
        self.rows[segment.id] = list(results)
        self.files[segment.id] = sorted(path.name for path in folder.glob("*.safetensors"))

    def failed(self, segment, reason: str) -> None:
        self.out -= 1
        self.reasons[segment.id] = reason


@pytest.fixture
def worker(monkeypatch):
    """Puts a function in the place of `run_segment`."""
    return lambda function: monkeypatch.setattr(
        "tenslora_search.training.segment.run_segment", function
    )


def scored(segment: Segment, folder: Path) -> list[TrialResult]:
    for number, _ in segment.trials:
        (folder / f"{number}.safetensors").touch()
    return [
        TrialResult(number, segment.to_step, 0.5, 1.0, None, 0.1) for number, _ in segment.trials
    ]


def test_inline_brings_back_rows_and_states(worker, tmp_path):
    worker(scored)
    source = Given(segment("a"), segment("b"))
    inline(Place(tmp_path))(source)
    assert source.done
    assert [row.number for row in source.rows["a"] + source.rows["b"]] == [0, 1, 0, 1]
    assert source.files == {
        "a": ["0.safetensors", "1.safetensors"],
        "b": ["0.safetensors", "1.safetensors"],
    }
    assert list(tmp_path.iterdir()) == []


def test_inline_goes_on_after_an_error(worker, tmp_path):
    def fails_once(segment: Segment, folder: Path) -> list[TrialResult]:
        if segment.id == "a":
            raise ArithmeticError("first line\n  singular matrix  \n")
        return scored(segment, folder)

    worker(fails_once)
    source = Given(segment("a"), segment("b"))
    inline(Place(tmp_path))(source)
    assert source.reasons == {"a": "singular matrix"}
    assert list(source.rows) == ["b"]


def test_a_wrong_question_ends_the_search(worker, tmp_path):
    def asks(segment: Segment, folder: Path) -> list[TrialResult]:
        raise QuestionError("no such data")

    worker(asks)
    with pytest.raises(QuestionError, match="no such data"):
        inline(Place(tmp_path))(Given(segment("a")))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_source_gets_no_more_segments(worker, tmp_path):
    source = Given(segment("a"), segment("b"))

    def interrupts(segment: Segment, folder: Path) -> list[TrialResult]:
        source.interrupted = True
        return scored(segment, folder)

    worker(interrupts)
    inline(Place(tmp_path))(source)
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
    from tenslora_search.engine.ray_tune import start

    with (
        socket.socket() as bound
    ):  # bound but not listening: nobody else has the port, and nobody answers
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(QuestionError, match="no Ray cluster at --ray-address"):
            start(Place(tmp_path, ray_address=f"127.0.0.1:{bound.getsockname()[1]}"))


@pytest.mark.slow
def test_ray_and_inline_agree_and_ray_tells_why_a_segment_failed(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "TENSLORA_CACHE" not in os.environ:
        monkeypatch.setenv("TENSLORA_CACHE", str(tmp_path / "cache"))
    measure = replace(segment("measure"), measures=True)
    remember(capacity_key(measure), 24)
    results = {}
    for name in ("inline", "ray"):
        source = Given(
            segment("a"),
            measure,
            segment("b"),
            *([segment("lost", "no/such-model")] if name == "ray" else []),
        )
        (tmp_path / name).mkdir()
        try:
            EXECUTORS[name](Place(tmp_path / name))(source)
        finally:
            if name == "ray":
                ray.shutdown()
        results[name] = source
    both = results["ray"], results["inline"]
    assert both[0].files == both[1].files
    for key in ("a", "b"):
        found, expected = (
            [(row.number, row.step, row.score, row.reason) for row in one.rows[key]] for one in both
        )
        assert found == expected
        assert [row.loss for row in both[0].rows[key]] == pytest.approx(
            [row.loss for row in both[1].rows[key]], abs=1e-5
        )
    assert [one.rows["measure"][0].score for one in both] == [24, 24]
    assert "no/such-model" in both[0].reasons["lost"]
    assert list((tmp_path / "ray" / "ray" / "segments").glob("a-*/result.json"))


@pytest.mark.slow
def test_workers_wait_with_all_imported(tmp_path):
    ray = pytest.importorskip("ray")
    from ray import tune

    from tenslora_search.engine.ray_internals import tune_adapted
    from tenslora_search.engine.ray_tune import start

    def trainable(config: dict) -> None:
        tune.report({"waited": "tenslora_search.training.segment" in sys.modules})

    start(Place(tmp_path))
    try:
        with tune_adapted():
            results = tune.Tuner(
                trainable, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)
            ).fit()
    finally:
        ray.shutdown()
    assert results[0].metrics["waited"]


@pytest.fixture
def two_workers():
    """Ray on two cores."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_workers_that_find_nothing_to_do_are_kept():
    """Tune ends all idle workers but one, and with each the backbone that it has loaded."""
    cache = pytest.importorskip("tenslora_search.engine.ray_tune").KeptWorkers()
    assert all(cache.cache_object("a GPU", worker) for worker in ("first", "second"))
    assert list(cache.flush_cached_objects()) == []
    assert [cache.pop_cached_object("a GPU") for _ in range(3)] == ["first", "second", None]
    assert cache.cache_object("a GPU", "first")
    assert list(cache.flush_cached_objects(force_all=True)) == ["first"]


class UntilTwoWork(Given):
    """Short segments until two workers have run one, or too many have come."""

    def __init__(self, folder: Path) -> None:
        super().__init__(segment("s"))
        self.folder = folder

    @property
    def workers(self) -> set[int]:
        texts = [path.read_text() for path in self.folder.glob("ray/segments/s*/result.json")]
        return {json.loads(text)["pid"] for text in texts if text}

    def next_segment(self) -> Segment | None:
        if len(self.workers) < 2 and len(self.rows) < 200:
            self.left = [segment(f"s{len(self.rows)}-{self.out}")]
        return super().next_segment()


@pytest.mark.slow
def test_a_segment_waits_for_its_worker_to_start(two_workers, tmp_path):
    """Tune gives it to the first worker that is free, and takes the start of the second back, again
    and again.
    """
    from tenslora_search.engine.ray_tune import serve

    source = UntilTwoWork(tmp_path)
    serve(Place(tmp_path), source)
    assert len(source.workers) == 2


@pytest.mark.slow
@pytest.mark.parametrize("where", ["next_segment", "finished"])
def test_an_error_of_the_source_ends_the_search(two_workers, tmp_path, where):
    """Tune itself would swallow it and wait for ever."""
    from tenslora_search.engine.ray_tune import serve

    class Broken(Given):
        def _break(self, *arguments, **options):
            raise ConnectionError("the dashboard is gone")

    setattr(Broken, where, Broken._break)
    with pytest.raises(ConnectionError, match="the dashboard is gone"):
        serve(Place(tmp_path), Broken(segment("a"), segment("b"), segment("c")))


def test_a_full_disk_ends_the_search_and_fails_no_trial(tmp_path):
    ray_tune = pytest.importorskip("tenslora_search.engine.ray_tune")
    source, outcomes = Given(segment("a")), ray_tune.Outcomes()
    segments = ray_tune.Segments(source, outcomes, 1, tmp_path)
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
        pytest.importorskip("tenslora_search.engine.ray_tune")._n_workers(gpus, share) == expected
    )


def test_a_worker_that_has_imported_torch_uses_one_core(worker, monkeypatch):
    import torch

    ray_tune = pytest.importorskip("tenslora_search.engine.ray_tune")
    worker(scored)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ray_tune.tune, "report", lambda *reported, **more: None)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ray_tune.train_segment({"segment": json.dumps(segment("a").to_json())})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
