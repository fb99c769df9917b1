"""A rule acts at three moments of a step, and its trial is the same alone, packed, paused and
resumed, wherever it is paused.
"""

from itertools import pairwise

import pytest
import torch

from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.decompositions.gated import sora
from tenslora_search.spec.form import Care, Learner, Rule
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.learner import Rules
from tenslora_search.training.optimizer import schedule
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import read_state

MAX_STEPS = 14


def pack(bert, data, specs, **options) -> Pack:
    return Pack(bert, data, specs, max_steps=MAX_STEPS, batch_size=8, **options)


@pytest.fixture
def trials(bert, ruled) -> list[TrialSpec]:
    return ruled(geometry_of(bert))


def unbroken(learnt, bert, data, specs, folder) -> list[dict[str, torch.Tensor]]:
    with pack(bert, data, specs) as whole:
        whole.advance(MAX_STEPS)
        return [learnt(whole, folder, k) for k in range(len(specs))]


def test_alone_is_packed(learnt, bert, data, trials, tmp_path, assert_same):
    together = unbroken(learnt, bert, data, trials, tmp_path / "together")
    for number, spec in enumerate(trials):
        (alone,) = unbroken(learnt, bert, data, [spec], tmp_path / str(number))
        assert_same(alone, together[number])


@pytest.mark.parametrize("stops", [(4,), (5,), (3, 4, 8, 9), (8, 12)])
def test_paused_is_unbroken(learnt, bert, data, trials, tmp_path, stops, assert_same):
    """Also where a rule is to be called at the very step at which the trial is paused."""
    expected = unbroken(learnt, bert, data, trials, tmp_path / "unbroken")
    states, order = [None] * len(trials), list(range(len(trials)))
    for start, stop in pairwise((0, *stops, MAX_STEPS)):
        order.reverse()  # in another order each time
        with pack(
            bert,
            data,
            [trials[k] for k in order],
            from_step=start,
            states=[states[k] for k in order],
        ) as part:
            part.advance(stop)
            for place, k in enumerate(order):
                states[k] = part.save(place, tmp_path / f"{stop}" / f"{k}.safetensors")
    for k, state in enumerate(states):
        _, found = read_state(state)
        assert_same(found, expected[k])


def test_between_is_called_once_and_not_after_the_last_step(monkeypatch, bert, data, tmp_path):
    called = []
    counting = Rule(between=lambda learner: called.append(learner.step), every=3)
    monkeypatch.setitem(RULES._entries, "chain", lambda: counting)
    spec = TrialSpec(AdapterSpec.of("none", "cp", (2,), geometry_of(bert)), 1e-3, 1e-3)
    spec = TrialSpec(spec.adapter, 1e-3, 1e-3, rule="chain")
    with Pack(bert, data, [spec], max_steps=9, batch_size=8) as first:
        first.advance(3)
        first.advance(5)
        state = first.save(0, tmp_path / "0.safetensors")
    with Pack(bert, data, [spec], max_steps=9, batch_size=8, from_step=5, states=[state]) as second:
        second.advance(9)
    assert called == [3, 6]


def test_a_restart_forgets_the_moments_of_its_trial_alone(monkeypatch, bert, data):
    """Of the head too; the gradient of the last step is there still."""
    seen = {}

    def look(learner: Learner) -> None:
        factor = next(one for one in learner.factors if one.start == "zero")
        seen["moments"] = [one.clone() for pair in learner.moments(factor) for one in pair]
        seen["gradients"] = [one.clone() for one in learner.gradient(factor)]

    rule = Rule(between=look, every=4, restarts=True)
    monkeypatch.setitem(RULES._entries, "chain", lambda: rule)
    adapter = AdapterSpec.of("none", "cp", (2,), geometry_of(bert))
    specs = [TrialSpec(adapter, 1e-3, 1e-3, rule=rule) for rule in ("chain", "plain")]
    with pack(bert, data, specs) as both:
        both.advance(4)
        both._between(4)
        assert not both.optimizer.means[0].any()
        assert both.optimizer.means[1].any()
    assert not any(one.any() for one in seen["moments"])
    assert any(one.any() for one in seen["gradients"])


def test_what_a_rule_writes_beyond_a_copys_rank_is_cleared(bert, data, trials):
    uneven = trials[6]
    with pack(bert, data, [uneven]) as one:
        one.advance(MAX_STEPS)
        (tensor,) = one.adapter.tensors
        for name, value in tensor.arrays.items():
            assert not tensor.of_trial(name, value, 0)[~tensor.entries(name, 0)].any()


def test_a_penalty_is_part_of_the_loss(monkeypatch, bert, data):
    adapter = AdapterSpec.of("none", "cp", (2,), geometry_of(bert))
    constant = Rule(penalty=lambda learner: learner.value(learner.factors[0])[0].sum() * 0 + 3.0)
    monkeypatch.setitem(RULES._entries, "chain", lambda: constant)
    specs = [TrialSpec(adapter, 1e-3, 1e-3, rule=rule) for rule in ("plain", "chain")]
    with pack(bert, data, specs) as both:
        plain, penalized = both.advance(5)
        assert penalized == pytest.approx(plain + 3.0, abs=1e-5)
        assert torch.equal(both.optimizer.values[0], both.optimizer.values[1])


def test_gates_shut_and_others_do_not(monkeypatch, bert, data):
    """A threshold of .5 a step shuts gates within a few steps; without one they stay open."""
    wide, none = (
        lambda modes: sora(modes, xi=0.5),
        lambda modes: sora(modes, xi=0.0),
    )
    for entry, shut in ((wide, True), (none, False)):
        monkeypatch.setitem(DECOMPOSITIONS._entries, "sora", entry)
        adapter = AdapterSpec.of("none", "sora", (4,), geometry_of(bert))
        with pack(bert, data, [TrialSpec(adapter, 1e-3, 1e-3)]) as one:
            one.advance(MAX_STEPS)
            gates = one.adapter.tensors[0].arrays["gate"]
            assert bool((gates == 0).all()) == shut
            assert one.adapter.tensors[0].arrays["input"].any()


def spec_of(rule: str, decomposition: str = "cp") -> TrialSpec:
    from tenslora_search.spec.geometry import Geometry

    geometry = Geometry.attention(hidden=12, heads=3, layers=2)
    adapter = AdapterSpec.of("none", decomposition, (2,), geometry)
    return TrialSpec(adapter, 1e-3, 1e-3, warmup=0.3, rule=rule)


def test_the_schedule_begins_anew_at_each_restart(ruled):
    rules, steps = Rules.of(spec_of("chain"), MAX_STEPS), range(MAX_STEPS)
    assert rules.numbers(steps) == [1, 2, 3, 4] * 3 + [1, 2]
    assert rules.shares(steps) == schedule(0.3, 4, range(4)) * 3 + schedule(0.3, 2, range(2))
    plain = Rules.of(spec_of("plain"), MAX_STEPS)
    assert plain.numbers(steps) == list(range(1, MAX_STEPS + 1))
    assert plain.shares(steps) == schedule(0.3, MAX_STEPS, steps)
    for one in (rules, plain):
        for begin in range(MAX_STEPS):
            for end in range(begin, MAX_STEPS + 1):
                assert one.numbers(range(begin, end)) == one.numbers(steps)[begin:end]
                assert one.shares(range(begin, end)) == one.shares(steps)[begin:end]
    assert len(rules.shares(range(MAX_STEPS + 5))) == MAX_STEPS + 5  # timed beyond the end


def test_a_trials_rule_and_its_forms_act_together():
    rules = Rules.of(spec_of("lora_plus", "sora"), MAX_STEPS)
    cares = {
        factor.name: rules.care(factor)
        for factor in spec_of("plain", "sora").adapter.networks[0].form.learnt
    }
    assert cares["output"] == Care(rate=16.0)
    assert cares["input"] == Care()
    assert cares["gate"] == Care(shrink=3e-4, decays=False)
