"""Asking: the probes that a space's allocators and prior need, asked before the search."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tenslora_search.engine.source import Work
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import Answer, Probe, Segment, Setting, TrialResult
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec


class Asking:
    """A source of probes, those that run.json has no answer to; answers are written into it.

    Trials can be proposed only once all are there, so it is served whole before the search is made.
    """

    interrupted = False
    seconds_left = math.inf

    def __init__(
        self, folder: Path, question: Question, run_file: RunFile, needs: Sequence[str]
    ) -> None:
        self.folder, self.run_file = folder, run_file
        setting, specs = setting_of(question, run_file), _trials(run_file)
        known = run_file.probes or {}
        self._waiting = [Probe(name, setting, specs) for name in needs if name not in known]
        self._n_running = 0

    @property
    def done(self) -> bool:
        return not self._waiting and not self._n_running

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        """Any number of workers will do."""

    def next_work(self) -> Work | None:
        if not self._waiting:
            return None
        self._n_running += 1
        return self._waiting.pop(0)

    def answered(self, probe: Probe, answer: Answer) -> None:
        self._n_running -= 1
        self.run_file = with_answer(self.folder, self.run_file, probe, answer)

    def failed(self, work: Work, reason: str) -> None:
        assert isinstance(work, Probe)
        raise QuestionError(
            f"the probe {work.name}, which an allocator or the prior of the space needs, failed: "
            f"{reason}"
        )

    def stands_at(self, segment: Segment, step: int) -> None:
        raise AssertionError("no segment was handed out")

    def finished(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float
    ) -> None:
        raise AssertionError("no segment was handed out")


def with_answer(folder: Path, run_file: RunFile, probe: Probe, answer: Answer) -> RunFile:
    """The run file with a probe's answer, written."""
    found = replace(run_file, probes={**(run_file.probes or {}), probe.name: answer})
    found.write(folder)
    return found


def setting_of(question: Question, run_file: RunFile) -> Setting:
    """What all segments share; workers refuse files that are others than when the search began."""
    expected = {"data": run_file.data_digest, "model": run_file.model_digest}
    task = {**question.task_options, "expected": expected}
    sizes = question.batch_size, question.max_steps
    return Setting(question.model, task, *sizes, question.retain, space=question.space)


def _trials(run_file: RunFile) -> tuple[TrialSpec, ...]:
    """LoRA of rank 1 on each of the sites: what a probe is about is their geometries."""
    every = (run_file.geometries or {"": run_file.geometry}).values()
    return tuple(TrialSpec(AdapterSpec.of("none", "cp", 1, one), 1e-3, 1e-3) for one in every)
