"""Pack: K trials in lockstep over one frozen backbone. Their batches lie side by side; their losses
are summed.

So gradients stay apart, and a trial alone is the same trial in any pack. Between segments a trial
is a small file (`states.py`): factors, head, and the optimizer's moments of both.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tenslora_search.backbone.attention import trials_apart
from tenslora_search.backbone.readout import StackedHeads
from tenslora_search.backbone.recompute import recomputed
from tenslora_search.backbone.shared import SharedEmbeddings
from tenslora_search.data.batches import Batches, Split
from tenslora_search.data.goals import Goal
from tenslora_search.data.task import TaskData
from tenslora_search.nn.attach import attach, layout
from tenslora_search.spec.form import Care
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.learner import Kept, Rules, TrialLearner
from tenslora_search.training.limit import IsOver, look
from tenslora_search.training.nonzero import n_nonzero
from tenslora_search.training.optimizer import PackedAdamW, Part
from tenslora_search.training.replay import Replay
from tenslora_search.training.states import load_state, write_state

EVALUATION = 4
"""A batch that is only scored has this many times the rows of one that is learnt from, which must
keep what each layer gave.
"""


class Pack:
    """Trains `specs` on `data` from `from_step`; use it as a context, which gives the backbone back
    as it was. `recomputes`: layers are computed again in backward, which saves memory.

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
        recomputes: bool = False,
    ) -> None:
        order = sorted(range(len(specs)), key=lambda k: layout(specs[k].adapter))
        self._rows = [order.index(k) for k in range(len(specs))]
        """the place in the pack of each trial as the caller counts them"""
        self.model, self.data, self.specs = model.eval(), data, [specs[k] for k in order]
        self.max_steps, self.step, self._expected = max_steps, from_step, from_step
        """`_expected`: `_replay` knows the widths of all steps up to it"""
        self._rules = [Rules.of(spec, max_steps) for spec in self.specs]
        self._acting = [row for row, rules in enumerate(self._rules) if rules.acts]
        self.device = next(model.parameters()).device
        self.batches = Batches(data.fit, batch_size, data_seed)
        with ExitStack() as undo:
            self._lay_on(model, anew, undo)
            if recomputes:
                undo.enter_context(recomputed(model))
            self.optimizer = self._optimizer()
            self._kept = self._views_of_parameters()
            self._learners = [self._learner(row) for row in range(len(specs))]
            self._inputs = _Inputs.of(len(specs), batch_size, self.device)
            self._replay = Replay(self._train, self.device)
            undo.callback(self._replay.forget)
            self.first_bad = torch.full((len(specs),), -1, device=self.device)
            self._losses_sum = torch.zeros(len(specs), device=self.device)
            for trial, state in enumerate(states or ()):
                if state is not None:
                    load_state(state, self._views(trial), step=from_step, spec=self._spec(trial))
            self._undo = undo.pop_all()

    def _learner(self, row: int) -> TrialLearner:
        tensors, seed = self.adapter.tensors_of(row), self.specs[row].seed
        return TrialLearner(tensors, self._kept, n_steps=self.max_steps, seed=seed)

    def _lay_on(self, model: nn.Module, anew: Sequence[str] | None, undo: ExitStack) -> None:
        """Makes the model that of all trials side by side: heads, adapter, rows apart."""
        seeds = [spec.seed for spec in self.specs]
        generators = [torch.Generator().manual_seed(seed + HEAD_SEED) for seed in seeds]
        is_needed = self.data.goal.n_outputs > 0
        self.heads = StackedHeads(model, generators, anew, is_needed=is_needed)
        undo.callback(self.heads.detach)
        undo.callback(SharedEmbeddings(model, len(self.specs)).detach)
        undo.enter_context(trials_apart(model, len(self.specs)))
        adapters = [spec.adapter for spec in self.specs]
        self.adapter = attach(model, adapters, seeds=seeds, train_head=False)
        undo.callback(self.adapter.detach)
        for parameter in self.heads.parameters.values():
            parameter.requires_grad_(True)

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def advance(self, to_step: int, *, goal: int | None = None) -> list[float]:
        """Trains every trial to `to_step`; the mean training loss of each since the last call.
        `goal`: the step that further calls will go on to, so that what pays by then is recorded.

        A trial whose loss is not finite goes on without harm to the others; `failure(trial)` says
        so.
        """
        steps = range(self.step, to_step)
        self._losses_sum.zero_()
        self._expect(max(to_step, goal or to_step))
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
        self._replay.expect([usual] * 2 * n_steps)
        for _ in ("warm", "timed"):
            synchronize()
            began = time.perf_counter()
            self._walk(steps, usual)
            synchronize()
            seconds = time.perf_counter() - began
        return seconds / n_steps

    def _expect(self, end: int) -> None:
        """Tells what records steps of all up to `end`, each once."""
        if self._replay.records and end > self._expected:
            self._replay.expect(self.batches.plan(range(self._expected, end))[1])
            self._expected = end

    def _walk(self, steps: range, width: int | None = None) -> None:
        """Trains step after step, texts cut to each batch's width or to the one given."""
        rows, widths = self.batches.plan(steps)
        # All at once onto the device, so that no step waits for the host.
        plan = _Inputs.plan(rows, steps, self._rules).to(self.device)

        def put_in_place(index: int) -> None:
            self._between(steps.start + index)
            for place, values in zip(self._inputs, plan, strict=True):
                place.copy_(values[index])

        self._replay.run([width] * len(steps) if width else widths, put_in_place)

    def _train(self, width: int) -> None:
        """One step of all trials on the rows in `_inputs`, their texts cut to `width`."""
        rows, step, number, share = self._inputs
        batch = self.batches.take(self.data.fit, rows, width=width)
        losses = self.data.goal.losses(self.model, batch, len(self.specs))
        losses = self._penalized(losses, step)
        gradients = torch.autograd.grad(losses.sum(), self.optimizer.parameters, allow_unused=True)
        self.optimizer.step(gradients, number, share)
        losses = losses.detach()
        self.first_bad.copy_(
            torch.where((self.first_bad < 0) & ~losses.isfinite(), step, self.first_bad)
        )
        self._losses_sum += losses

    def _penalized(self, losses: Tensor, step: Tensor) -> Tensor:  # (trial,), ()
        """The losses, with what the trials' rules add to them."""
        asked = {}
        for row, (rules, learner) in enumerate(zip(self._rules, self._learners, strict=True)):
            learner.step = step
            if (penalty := rules.penalty(learner)) is not None:
                asked[row] = penalty
        if not asked:
            return losses
        return torch.stack([loss + asked.get(row, 0) for row, loss in enumerate(losses.unbind())])

    @torch.no_grad()
    def _between(self, step: int) -> None:
        """Calls what the trials' rules do after `step` steps, before the next."""
        for row in self._acting:
            learner, due = self._learners[row], self._rules[row].due(step)
            if any(rule.restarts for rule in due):
                self.optimizer.restart(row)
            learner.step = step
            for rule in due:
                assert rule.between is not None
                rule.between(learner)
            if due:
                learner.clear_padding()

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
    def predict(
        self, split: Split, goal: Goal | None = None, *,
        is_bare: bool = False, is_over: IsOver | None = None,
    ) -> np.ndarray:  # fmt: skip
        """The goal's answers, (trial, row, ...) in float32: logits of classes, probabilities of
        labels, numbers in their labels' units, losses of text. `is_bare`: without the adapters.
        `TimeIsUp` once `is_over`, which is asked between batches, says so.
        """
        goal, n_trials = goal or self.data.goal, len(self.specs)
        order = split.lengths.cpu().argsort(stable=True)
        parts = []
        with self.adapter.held():
            if is_bare:
                for site in self.adapter.sites.values():
                    site.updates = []
            for rows in order.split(EVALUATION * self.batches.batch_size):
                look(is_over, self.step)
                batch = self.batches.take(split, rows)
                parts.append(goal.answers(self.model, batch, n_trials))
        return torch.cat(parts, 1)[self._rows][:, order.argsort()].cpu().numpy()

    @property
    def places(self) -> list[int]:
        """The place in the pack of each trial as the caller counts them."""
        return list(self._rows)

    def n_nonzero(self, trial: int) -> int:
        """Trained numbers of a trial's adapter that are left in terms that are not zero."""
        return n_nonzero(self.adapter.tensors_of(self._rows[trial]))

    def save(self, trial: int, path: Path) -> Path:
        """Writes a paused trial: all that goes on from here, and no padding of its neighbours."""
        about = {
            **self.data.goal.kept,
            "step": self.step,
            "spec": self._spec(trial).to_json(),
        }
        return write_state(path, self._views(trial), about)

    def _spec(self, trial: int) -> TrialSpec:
        return self.specs[self._rows[trial]]

    def _views(self, trial: int) -> Iterator[tuple[str, Tensor]]:
        """Views of all that a trial goes on from, by name: factors, head, and the two moments of
        each; the last gradients too where a rule is still to be called before the next step.
        """
        row = self._rows[trial]
        kinds = ["value", "mean", "square"]
        if self._rules[row].due(self.step):
            kinds.append("gradient")
        for group, (tensor, place) in enumerate(self.adapter.tensors_of(row)):
            for name, value in tensor.frozen.named_buffers():
                yield f"value.{group}.{name}", tensor.of_trial(name, value, place)
            for name, parameter in tensor.factors.items():
                for kind in kinds:
                    view = getattr(self._kept[id(parameter)], kind)
                    yield f"{kind}.{group}.{name}", tensor.of_trial(name, view, place)
        for name, parameter in self.heads.parameters.items():
            for kind in kinds:
                yield f"{kind}.head.{name}", getattr(self._kept[id(parameter)], kind)[row]

    def _views_of_parameters(self) -> dict[int, Kept]:
        """What the optimizer keeps of each parameter, by its id."""
        optimizer = self.optimizer
        matrices = (optimizer.values, optimizer.gradients, optimizer.means, optimizer.squares)
        views = zip(*map(optimizer.views, matrices), strict=True)
        return {
            id(parameter): Kept(*of_parameter)
            for parameter, of_parameter in zip(optimizer.parameters, views, strict=True)
        }

    def _optimizer(self) -> PackedAdamW:
        every = range(len(self.specs))
        rates = [spec.head_learning_rate for spec in self.specs]
        parts = [
            Part(parameter, every, rates, [Care()] * len(self.specs))
            for parameter in self.heads.parameters.values()
        ]
        for tensor, trials in self.adapter.tensors_and_trials():
            rates = [self.specs[row].learning_rate for row in trials]
            for factor in tensor.network.form.counted:
                cares = [self._rules[row].care(factor) for row in trials]
                parts.append(Part(tensor.factors[factor.name], trials, rates, cares))
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
    step: Tensor  # () int64, counted from 1
    number: Tensor  # (trial,) float64, Adam's number of the step
    share: Tensor  # (trial,), of the learning rates

    @classmethod
    def of(cls, n_trials: int, batch_size: int, device: torch.device) -> "_Inputs":
        return cls(
            torch.zeros(batch_size, dtype=torch.int64, device=device),
            torch.zeros((), dtype=torch.int64, device=device),
            torch.zeros(n_trials, dtype=torch.float64, device=device),
            torch.zeros(n_trials, device=device),
        )

    @classmethod
    def plan(cls, rows: Tensor, steps: range, rules: Sequence[Rules]) -> "_Inputs":
        """The inputs of steps counted from 0, each on its rows."""
        return cls(
            rows,
            torch.arange(1, len(steps) + 1) + steps.start,
            torch.tensor([one.numbers(steps) for one in rules], dtype=torch.float64).T,
            torch.tensor([one.shares(steps) for one in rules]).T,
        )

    def to(self, device: torch.device) -> "_Inputs":
        return _Inputs(*(values.to(device) for values in self))


HEAD_SEED = 1_000_003
"""Added to a trial's seed for its head, so that head and factors do not start from the same draws.
"""
