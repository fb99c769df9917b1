"""A trial is the same trial alone, in any pack, paused and resumed; what happens to one does not
touch its neighbours.
"""

import copy
import gc
import json
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tenslora_search.backbone.attention import fold_attention
from tenslora_search.data.goals import Numbers
from tenslora_search.data.task import TaskData
from tenslora_search.export.factors import set_trial_factors, trial_factors
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

MAX_STEPS = 12


@pytest.fixture(scope="module")
def trials(bert, pairs) -> list[TrialSpec]:
    """Constructions x decompositions x rules, with rates, clipping and decay of its own."""
    geometry = geometry_of(bert)
    rules = list(RULES)
    return [
        TrialSpec(
            AdapterSpec.of(*pair, proportional(Structure.of(*pair, geometry), 1500), geometry),
            learning_rate=(1 + number % 5) * 2e-3,
            head_learning_rate=(1 + number % 3) * 1e-3,
            weight_decay=0.1 * (number % 2),
            clip=(0.05, 1.0)[number % 2],
            rule=rules[number % len(rules)],
            seed=number,
        )
        for number, pair in enumerate(pairs)
    ]


def pack(model, data, specs, **options) -> Pack:
    return Pack(model, data, specs, max_steps=MAX_STEPS, batch_size=8, **options)


def test_alone_is_packed(bert, data, trials, tmp_path, learnt, assert_same):
    with pack(bert, data, trials) as all_of_them:
        losses = all_of_them.advance(MAX_STEPS)
        scores = all_of_them.scores(data.select)
        together = [learnt(all_of_them, tmp_path / "together", k) for k in range(len(trials))]
    assert len(set(scores)) > 1
    for number in range(0, len(trials), 2):  # each method alone: test_methods.py
        with pack(bert, data, [trials[number]]) as alone:
            assert alone.advance(MAX_STEPS)[0] == pytest.approx(losses[number], abs=1e-5)
            assert alone.scores(data.select)[0] == pytest.approx(scores[number], abs=1e-5)
            assert_same(learnt(alone, tmp_path / "alone"), together[number])


def test_paused_and_resumed_in_another_pack_is_unbroken(
    bert, data, trials, tmp_path, learnt, assert_same
):
    chosen = trials[::7]
    with pack(bert, data, chosen) as unbroken:
        unbroken.advance(MAX_STEPS)
        expected = [learnt(unbroken, tmp_path / "unbroken", k) for k in range(len(chosen))]
    with pack(bert, data, chosen) as first:
        first.advance(5)
        states = [
            first.save(k, tmp_path / "paused" / f"{k}.safetensors") for k in range(len(chosen))
        ]
    order = list(reversed(range(len(chosen))))[:4]
    with pack(
        bert, data, [chosen[k] for k in order], from_step=5, states=[states[k] for k in order]
    ) as second:
        second.advance(MAX_STEPS)
        for place, k in enumerate(order):
            assert_same(learnt(second, tmp_path / "second", place), expected[k])


def test_a_failed_trial_does_not_touch_its_neighbours(
    bert, data, trials, tmp_path, learnt, assert_same
):
    """Also where several texts share a tile of attention, in batches of a size that tiles do not
    divide.
    """
    model = copy.deepcopy(bert)
    fold_attention(model)
    calm, wild = trials[3], replace(trials[3], learning_rate=1e30, clip=1e30, seed=7)

    def outcome(specs: list[TrialSpec]) -> tuple[dict, np.ndarray]:
        with Pack(model, data, specs, max_steps=6, batch_size=5) as pack:
            pack.advance(6)
            assert [pack.failure(k) is not None for k in range(len(specs))] == [
                spec is wild for spec in specs
            ]
            return learnt(pack, tmp_path / str(len(specs))), pack.predict(data.select)[0]

    alone, beside = outcome([calm]), outcome([calm, wild])
    assert_same(beside[0], alone[0])
    np.testing.assert_allclose(beside[1], alone[1], atol=1e-5)


def test_one_trial_follows_torch_adamw(bert, data, trials, assert_same):
    """A plain form under the plain rule: adaptive forms prune terms and schedule for themselves."""
    plain = next(one for one in trials if one.adapter.networks[0].form.is_plain)
    spec = replace(plain, rule="plain", clip=0.05, weight_decay=0.1)
    with pack(bert, data, [spec]) as ours:
        start = trial_factors(ours.adapter, 0)
        head = {
            name: parameter[0].detach().clone() for name, parameter in ours.heads.parameters.items()
        }
        batches = [ours.batches.take(data.fit, ours.batches[step]) for step in range(MAX_STEPS)]
        ours.advance(MAX_STEPS)
        expected = trial_factors(ours.adapter, 0)
    adapter = attach(bert, spec.adapter, seeds=5)
    try:
        set_trial_factors(adapter, start)
        with torch.no_grad():
            bert.classifier.weight.copy_(head["classifier.weight"].T)
            bert.classifier.bias.copy_(head["classifier.bias"].reshape(-1))
        heads = [bert.classifier.weight, bert.classifier.bias]
        factors = list(adapter.parameters())
        groups = [
            {"params": factors, "lr": spec.learning_rate},
            {"params": heads, "lr": spec.head_learning_rate},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=spec.weight_decay)
        warmup = max(1, round(spec.warmup * MAX_STEPS))
        for step, batch in enumerate(batches):
            share = (
                (step + 1) / warmup
                if step < warmup
                else (1 + math.cos(math.pi * (step - warmup) / (MAX_STEPS - warmup))) / 2
            )
            for group, rate in zip(
                optimizer.param_groups, (spec.learning_rate, spec.head_learning_rate), strict=True
            ):
                group["lr"] = rate * share
            logits = bert(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits
            functional.cross_entropy(logits, batch["labels"]).backward()
            torch.nn.utils.clip_grad_norm_([*factors, *heads], spec.clip)
            optimizer.step()
            optimizer.zero_grad()
        found = trial_factors(adapter, 0)
    finally:
        adapter.detach()
    assert_same(found, expected)


def test_a_loss_that_is_not_finite_fails_its_trial_alone(
    bert, data, trials, tmp_path, learnt, assert_same
):
    calm = [trials[1], trials[9]]
    wild = TrialSpec(
        trials[0].adapter, learning_rate=1e38, head_learning_rate=1e38, clip=1e30, seed=1
    )
    with pack(bert, data, [calm[0], wild, calm[1]]) as mixed:
        mixed.advance(MAX_STEPS)
        failures = [mixed.failure(k) for k in range(3)]
        scores = mixed.scores(data.select)
        kept = [learnt(mixed, tmp_path / "mixed", k) for k in (0, 2)]
    assert failures[0] is None
    assert failures[2] is None
    assert failures[1] is not None
    assert "not finite at step" in failures[1]
    assert math.isnan(scores[1])
    with pack(bert, data, calm) as without:
        without.advance(MAX_STEPS)
        for k in range(2):
            assert_same(learnt(without, tmp_path / "without", k), kept[k])


@pytest.fixture
def regressor(bert):
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    return BertForSequenceClassification(
        type(bert.config).from_dict({**bert.config.to_dict(), "num_labels": 1})
    ).eval()


@pytest.fixture
def scored(tokens):
    """scored(scale, shift) -> a regression whose labels are on any scale."""

    def draw(scale: float = 1.0, shift: float = 0.0) -> TaskData:
        splits = [tokens(n, seed, regression=True) for seed, n in enumerate((60, 40, 40))]
        for split in splits:
            split.labels = split.labels * scale + shift
        goal = Numbers.of((), "pearson_spearman", splits[0].labels.numpy())
        return TaskData("score", goal, *splits, "")

    return draw


@pytest.mark.parametrize(("scale", "shift"), [(20, 0), (1000, 0), (1, 100), (0.05, -5)])
def test_regression_learns_alike_on_every_scale(regressor, scored, trials, scale, shift):
    found = []
    for task in (scored(), scored(scale, shift)):
        with Pack(regressor, task, trials[:2], max_steps=30, batch_size=8) as regressors:
            losses = regressors.advance(30)
            found.append((losses, regressors.scores(task.select), regressors.predict(task.select)))
    (losses, scores, predicted), (other_losses, other_scores, other_predicted) = found
    assert other_losses == pytest.approx(losses, rel=1e-2)
    assert other_scores == pytest.approx(scores, abs=1e-2)
    np.testing.assert_allclose((other_predicted - shift) / scale, predicted, atol=1e-2)
    assert scored(scale, shift).goal.units == pytest.approx(
        (scale * scored().goal.units[0] + shift, scale * scored().goal.units[1]), rel=1e-3
    )


def test_units_of_labels_that_are_all_the_same_in_fit(scored):
    assert scored(0, 3).goal.units == (3, 1)


def test_regression_learns(regressor, scored, trials):
    task, model = scored(), regressor
    spec = TrialSpec(trials[0].adapter, learning_rate=1e-2, head_learning_rate=1e-2)
    with Pack(model, task, [spec, spec], max_steps=60, batch_size=8) as regressors:
        (before, _), (after, _) = regressors.advance(10), regressors.advance(60)
        scores = regressors.scores(task.select)
    assert after < before
    assert scores[0] == scores[1]
    assert -1 <= scores[0] <= 1


def test_the_backbone_is_given_back_untouched(bert, data, trials):
    before = {name: value.clone() for name, value in bert.state_dict().items()}
    with pack(bert, data, trials[:3]) as some:
        some.advance(3)
    after = bert.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "trouble", ["another trial", "another step", "truncated", "foreign", "missing"]
)
def test_a_wrong_state_is_one_line(bert, data, trials, tmp_path, trouble):
    with pack(bert, data, [trials[0]]) as first:
        first.advance(4)
        path = first.save(0, tmp_path / "0.safetensors")
    spec, step = (
        (trials[1] if trouble == "another trial" else trials[0]),
        (8 if trouble == "another step" else 4),
    )
    if trouble == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif trouble == "foreign":
        path.write_text(json.dumps({}))
    elif trouble == "missing":
        path.unlink()
    with pytest.raises(QuestionError) as error:
        pack(bert, data, [spec], from_step=step, states=[path])
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_states_are_small_and_hold_no_padding(bert, data, trials, tmp_path):
    small, large = trials[0], trials[7 * 7]
    with pack(bert, data, [small, large]) as mixed:
        mixed.advance(2)
        about, tensors = read_state(mixed.save(0, tmp_path / "0.safetensors"))
    assert about["step"] == 2
    factors = sum(
        value.numel()
        for name, value in tensors.items()
        if name.startswith("value.") and ".head." not in name
    )
    assert factors == small.adapter.n_params


def test_the_memory_of_a_pack_is_free_when_it_ends(bert, data, trials):
    """At once, not when Python next looks for cycles: on a GPU the next pack needs it."""
    gc.collect()
    gc.disable()
    try:
        with pack(bert, data, trials[:3]) as ended:
            ended.advance(3)
            ended.scores(data.select)
        held = weakref.ref(ended.optimizer), weakref.ref(ended.adapter)
        del ended
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()
