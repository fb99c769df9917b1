"""Pack: K trials in lockstep over one frozen backbone. Their batches lie side by side; their losses
are summed.

So gradients stay apart, and a trial alone is the same trial in any pack. Between segments a trial
is a small safetensors file: factors, head, and the optimizer's moments of both.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from tenslora_search.backbone.attention import trials_apart
from tenslora_search.backbone.readout import StackedHeads
from tenslora_search.backbone.shared import SharedEmbeddings
from tenslora_search.data.batches import Batches, Split
from tenslora_search.data.task import TaskData
from tenslora_search.hub.noted import read_noted
from tenslora_search.hub.permissions import share
from tenslora_search.nn.attach import attach, layout
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.optimizer import PackedAdamW, Part, schedule
from tenslora_search.training.replay import Replay

EVALUATION = 4
"""A batch that is only scored has this many times the rows of one that is learnt from, which must
keep what each layer gave.
"""


class Pack:
    """Trains `specs` on `data` from `from_step`; use it as a context, which gives the backbone back
    as it was.

    The model is in eval mode throughout: no dropout, so that nothing but seeds and data decides a
    score.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TaskData,
        specs: Sequence[TrialSpec],
        *,
        max_steps: int,
        batch_size: int,
        data_seed: int = 0,
        from_step: int = 0,
        states: Sequence[Path | None] | None = None,
        anew: Sequence[str] | None = None,
    ) -> None:
        order = sorted(range(len(specs)), key=lambda k: layout(specs[k].adapter))
        self._rows = [order.index(k) for k in range(len(specs))]
        """the place in the pack of each trial as the caller counts them"""
        self.model, self.data, self.specs = model.eval(), data, [specs[k] for k in order]
        self.max_steps, self.step = max_steps, from_step
        self.device = next(model.parameters()).device
        self.batches = Batches(data.fit, batch_size, data_seed)
        with ExitStack() as undo:
            generators = [
                torch.Generator().manual_seed(spec.seed + HEAD_SEED) for spec in self.specs
            ]
            self.heads = StackedHeads(model, generators, anew, is_needed=data.goal.n_outputs > 0)
            undo.callback(self.heads.detach)
            undo.callback(SharedEmbeddings(model, len(specs)).detach)
            undo.enter_context(trials_apart(model, len(specs)))
            seeds = [spec.seed for spec in self.specs]
            self.adapter = attach(
                model, [spec.adapter for spec in self.specs], seeds=seeds, train_head=False
            )
            undo.callback(self.adapter.detach)
            for parameter in self.heads.parameters.values():
                parameter.requires_grad_(True)
            self.optimizer = self._optimizer()
            self._inputs = _Inputs.of(len(specs), batch_size, self.device)
            self._replay = Replay(self._train, self.device)
            undo.callback(self._replay.forget)
            self.first_bad = torch.full((len(specs),), -1, device=self.device)
            self._losses_sum = torch.zeros(len(specs), device=self.device)
            for trial, state in enumerate(states or ()):
                if state is not None:
                    self._load(trial, state)
            self._undo = undo.pop_all()

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def advance(self, to_step: int) -> list[float]:
        """Trains every trial to `to_step`; the mean training loss of each since the last call.

        A trial whose loss is not finite goes on without harm to the others; `failure(trial)` says
        so.
        """
        steps = range(self.step, to_step)
        self._losses_sum.zero_()
        self._walk(steps)
        self.step = to_step
        means = (self._losses_sum / max(1, len(steps))).tolist()
        return [means[row] for row in self._rows]

    def seconds_a_step(self, n_steps: int) -> float:
        """What a step takes on rows of the usual length, once it is warm; what is learnt meanwhile
        is good for nothing.
        """
        steps = range(n_steps)
        usual = sorted(self.batches.plan(steps)[1])[n_steps // 2]
        synchronize = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        seconds = 0.0
        for _ in ("warm", "timed"):
            synchronize()
            began = time.perf_counter()
            self._walk(steps, usual)
            synchronize()
            seconds = time.perf_counter() - began
        return seconds / n_steps

    def _walk(self, steps: range, width: int | None = None) -> None:
        """Trains step after step, texts cut to each batch's width or to the one given."""
        rows, widths = self.batches.plan(steps)
        shares = torch.tensor(
            [schedule(spec.warmup, self.max_steps, steps) for spec in self.specs]
        ).T
        # All at once onto the device, so that no step waits for the host.
        plan = _Inputs(
            rows, torch.arange(1, len(steps) + 1, dtype=torch.float64) + steps.start, shares
        ).to(self.device)

        def put_in_place(index: int) -> None:
            for place, values in zip(self._inputs, plan, strict=True):
                place.copy_(values[index])

        self._replay.run([width] * len(steps) if width else widths, put_in_place)

    def _train(self, width: int) -> None:
        """One step of all trials on the rows in `_inputs`, their texts cut to `width`."""
        rows, number, share = self._inputs
        batch = self.batches.take(self.data.fit, rows, width=width)
        losses = self.data.goal.losses(self.model, batch, len(self.specs))
        gradients = torch.autograd.grad(losses.sum(), self.optimizer.parameters, allow_unused=True)
        self.optimizer.step(gradients, number, share)
        losses = losses.detach()
        self.first_bad.copy_(
            torch.where((self.first_bad < 0) & ~losses.isfinite(), number.long(), self.first_bad)
        )
        self._losses_sum += losses

    def failure(self, trial: int) -> str | None:
        """Why a trial cannot go on, or None."""
        step = int(self.first_bad[self._rows[trial]])
        return None if step < 0 else f"the loss was not finite at step {step}"

    def scores(self, split: Split) -> list[float]:
        """Each trial's score on a split by the task's metric; NaN where its answers are not
        finite.
        """
        targets = split.labels.cpu().numpy()
        return [self.data.goal.score(one, targets) for one in self.predict(split)]

    @torch.no_grad()
    def predict(self, split: Split) -> np.ndarray:
        """The goal's answers, (trial, row, ...) in float32: logits of classes, probabilities of
        labels, numbers in their labels' units.
        """
        goal, n_trials = self.data.goal, len(self.specs)
        order = split.lengths.cpu().argsort(stable=True)
        parts = []
        with self.adapter.held():
            for rows in order.split(EVALUATION * self.batches.batch_size):
                batch = self.batches.take(split, rows)
                parts.append(goal.answers(self.model, batch, n_trials))
        return torch.cat(parts, 1)[self._rows][:, order.argsort()].cpu().numpy()

    def save(self, trial: int, path: Path) -> Path:
        """Writes a paused trial: its factors, its head and the moments of both; no padding of its
        neighbours.
        """
        tensors = {name: view.detach().cpu().contiguous() for name, view in self._views(trial)}
        about = {
            "step": self.step,
            "spec": self.specs[self._rows[trial]].to_json(),
            **self.data.goal.kept,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path, metadata={"tenslora_state": json.dumps(about)})
            share(path)
        except (OSError, SafetensorError) as error:
            raise QuestionError(
                f"cannot write {path}: {str(error).splitlines()[0]}. What was done so far is kept."
            ) from error
        return path

    def _load(self, trial: int, path: Path) -> None:
        about, tensors = read_state(path)
        if (
            about["step"] != self.step
            or TrialSpec.from_json(about["spec"]) != self.specs[self._rows[trial]]
        ):
            raise QuestionError(
                f"{path} holds another trial, or another step ({about['step']}) than {self.step}."
            )
        with torch.no_grad():
            for name, view in self._views(trial):
                view.copy_(tensors[name])

    def _views(self, trial: int) -> Iterator[tuple[str, Tensor]]:
        """Views of all that a trial has learnt, by name: factors, head, and the two moments of
        each.
        """
        row, optimizer = self._rows[trial], self.optimizer
        of = {
            id(parameter): dict(zip(KINDS, views, strict=True))
            for parameter, *views in zip(
                optimizer.parameters,
                *map(optimizer.views, (optimizer.values, optimizer.means, optimizer.squares)),
                strict=True,
            )
        }
        for group, (tensor, place) in enumerate(self.adapter.tensors_of(row)):
            for name, parameter in tensor.factors.items():
                for kind, value in of[id(parameter)].items():
                    yield f"{kind}.{group}.{name}", tensor.of_trial(name, value, place)
        for name, parameter in self.heads.parameters.items():
            for kind, value in of[id(parameter)].items():
                yield f"{kind}.head.{name}", value[row]

    def _optimizer(self) -> PackedAdamW:
        parts = [
            Part(
                parameter, range(len(self.specs)), [spec.head_learning_rate for spec in self.specs]
            )
            for parameter in self.heads.parameters.values()
        ]
        for tensor, trials in self.adapter.tensors_and_trials():
            for factor in tensor.network.factors:
                rates = [
                    self.specs[k].learning_rate * RULES[self.specs[k].rule]().care(factor).rate
                    for k in trials
                ]
                parts.append(Part(tensor.factors[factor.name], trials, rates))
        return PackedAdamW(
            parts,
            weight_decay=torch.tensor(
                [spec.weight_decay for spec in self.specs], device=self.device
            ),
            clip=torch.tensor([spec.clip for spec in self.specs], device=self.device),
        )


class _Inputs(NamedTuple):
    """What differs from step to step: one step's, or all of a plan's along a first axis."""

    rows: Tensor  # (batch,) int64
    number: Tensor  # () float64, counted from 1
    share: Tensor  # (trial,), of the learning rates

    @classmethod
    def of(cls, n_trials: int, batch_size: int, device: torch.device) -> "_Inputs":
        return cls(
            torch.zeros(batch_size, dtype=torch.int64, device=device),
            torch.zeros((), dtype=torch.float64, device=device),
            torch.zeros(n_trials, device=device),
        )

    def to(self, device: torch.device) -> "_Inputs":
        return _Inputs(*(values.to(device) for values in self))


HEAD_SEED = 1_000_003
"""Added to a trial's seed for its head, so that head and factors do not start from the same draws.
"""

KINDS = ("value", "mean", "square")


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `Pack.save` wrote: {"step", "spec"} with what the goal keeps, and the tensors.

    `QuestionError` if the file is missing, cut off or foreign.
    """
    return read_noted(path, "tenslora_state")
