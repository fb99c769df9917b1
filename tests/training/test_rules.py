"""What the rules and the forms with rules of their own promise: chains, kept terms, pruned entries,
columns that differ.
"""

import math
from collections.abc import Iterator

import pytest
import torch

from tenslora_search.nn.places import geometry_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.decompositions.adaptive import END, START, share_kept
from tenslora_search.spec.form import Rule
from tenslora_search.spec.rules import RULES, dedup
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

N_STEPS = 24


def trial(bert, decomposition: str = "cp", ranks=(6,), rule="plain", **options) -> TrialSpec:
    adapter = AdapterSpec.of("none", decomposition, ranks, geometry_of(bert), options=options)
    return TrialSpec(adapter, 1e-2, 1e-2, rule=rule, weight_decay=0.1)


def pack(bert, data, *specs: TrialSpec, max_steps: int = N_STEPS) -> Pack:
    return Pack(bert, data, specs, max_steps=max_steps, batch_size=8)


def values(one: Pack) -> dict[str, torch.Tensor]:
    """The factors of the first trial, copies of them."""
    (tensor, place), *_ = one.adapter.tensors_of(0)
    return {name: value[place].detach().clone() for name, value in tensor.arrays.items()}


def updates(one: Pack) -> torch.Tensor:
    """(map, input, output) of the first trial."""
    made = one.adapter.updates(0).values()
    return torch.stack([(pair[0] @ pair[1]).detach() for pair in made])


def test_a_chain_learns_one_link_at_a_time_and_its_rank_accumulates(bert, data):
    with pack(bert, data, trial(bert, "rac_lora", links=3)) as chain:
        before = values(chain)
        for number, stop in enumerate((8, 16, 24)):
            chain.advance(stop)
            now = values(chain)
            mine = slice(2 * number, 2 * number + 2)
            moved = (now["output"] != before["output"]).flatten(0, -2).any(0)
            changed = moved.nonzero().flatten()
            assert changed.tolist() == list(range(6))[mine]
            assert torch.equal(now["input"], before["input"])  # frozen: never moves
            assert set(torch.linalg.matrix_rank(updates(chain)).tolist()) == {2 * number + 2}
            before = now


def test_i16_a_chain_is_lora_of_its_links_side_by_side(bert, data):
    """And each link began with a warm-up and moments of its own: the shares say so."""
    with pack(bert, data, trial(bert, "rac_lora", links=3)) as chain:
        chain.advance(N_STEPS)
        found, made = values(chain), updates(chain)
        shares = chain._rules[0].shares(range(N_STEPS))
        numbers = chain._rules[0].numbers(range(N_STEPS))
        (scale,) = set(chain.specs[0].adapter.scales(0))
    links = [(found["input"][..., k : k + 2], found["output"][..., k : k + 2]) for k in (0, 2, 4)]
    summed = sum(one @ other.mT for one, other in links)
    torch.testing.assert_close(scale * summed.flatten(0, -3), made)
    assert shares == shares[:8] * 3
    assert numbers == [*range(1, 9)] * 3


def test_one_link_is_lora_with_one_side_frozen(bert, data):
    (scale,) = set(trial(bert, "rac_lora", links=1).adapter.scales(0))
    of_lora = set(trial(bert).adapter.scales(0)).pop()
    assert scale == pytest.approx(of_lora * math.sqrt(1 / 3))  # normal entries, not uniform ones
    with pack(bert, data, trial(bert, "rac_lora", (2,), links=1)) as chain:
        chain.advance(5)
        assert chain._rules[0].due(5) == []
        assert values(chain)["output"].all()


def test_a_chain_with_more_links_than_steps_is_refused(bert, data):
    with pytest.raises(QuestionError, match="RAC-LoRA is a chain of 9 links, more than the 8 step"):
        pack(bert, data, trial(bert, "rac_lora", (9,), links=9), max_steps=8)


def test_the_budget_curve_is_that_of_the_paper():
    """All, then v_T + (v_0 - v_T) (1 - (t - t_i) / (T - t_f - t_i))^3, then what is kept."""
    n_steps, keep = 1000, 0.25
    curve = [share_kept(step, n_steps, keep) for step in range(n_steps + 1)]
    first, last = round(START * n_steps), round(END * n_steps)
    assert set(curve[: first + 1]) == {1.0}
    assert set(curve[last:]) == {keep}
    assert curve == sorted(curve, reverse=True)
    middle = (first + last) // 2
    assert curve[middle] == pytest.approx(keep + (1 - keep) / 8)


def test_adalora_keeps_its_share_of_all_terms_and_they_stay(bert, data):
    """In the end the others are zero for good, columns too; more is kept where more matters."""
    ranks = [(1 + k % 4,) for k in range(6)]  # 13 terms
    with pack(bert, data, trial(bert, "adalora", ranks, keep=0.5, every=4)) as adaptive:
        adaptive.advance(12)
        assert int((values(adaptive)["gate"] != 0).sum()) == 13
        adaptive.advance(N_STEPS)
        found = values(adaptive)
    alive = found["gate"] != 0
    assert int(alive.sum()) == math.ceil(13 * 0.5)
    for name in ("input", "output"):
        assert torch.equal((found[name] != 0).any(-2), alive)


def test_adalora_pulls_its_columns_towards_orthonormal_ones(bert, data):

    def distance(one: Pack) -> float:
        columns = values(one)["input"]
        return float((columns.mT @ columns - torch.eye(6)).norm())

    with pack(bert, data, trial(bert, "adalora", keep=1.0)) as one:
        begun = distance(one)
        one.advance(N_STEPS)
        assert distance(one) < 0.3 * begun


def test_prilora_prunes_a_share_of_each_column_which_learns_on(bert, data):
    rule = {"name": "prilora", "ratio": 0.25, "every": 8}
    with pack(bert, data, trial(bert, rule=rule)) as one:
        one.advance(8)
        before = values(one)["input"]
        assert before.all()
        one._between(8)
        pruned = values(one)["input"]
        assert set((pruned == 0).sum(-2).flatten().tolist()) == {4}  # of 16 inputs
        kept = pruned != 0
        assert torch.equal(pruned[kept], before[kept])
        one.advance(12)
        assert values(one)["input"].all()


def test_what_is_pruned_is_small_and_its_input_is_quiet(bert, data):
    with pack(bert, data, trial(bert, rule={"name": "prilora", "every": 8})) as one:
        one.advance(8)
        (tensor, place), *_ = one.adapter.tensors_of(0)
        square = one._kept[id(tensor.factors["input"])].square[place]
        importance = values(one)["input"].abs() * square.mean(-1, keepdim=True).sqrt()
        one._between(8)
        gone = values(one)["input"] == 0
    for column, is_gone in zip(importance.mT.flatten(0, -2), gone.mT.flatten(0, -2), strict=True):
        assert column[is_gone].max() < column[~is_gone].min()


def test_dedup_turns_columns_apart(bert, data):

    def overlap(spec: TrialSpec) -> float:
        with pack(bert, data, spec) as one:
            one.advance(N_STEPS)
            columns = torch.nn.functional.normalize(values(one)["input"], dim=-2)
            return float(((columns.mT @ columns).square()).mean())

    much = {"name": "dedup", "weight": 0.1}
    assert overlap(trial(bert, rule=much)) < 0.8 * overlap(trial(bert))


def no_weight() -> Rule:
    """ReSoRA's with lambda = 0, which no search proposes."""
    return dedup(weight=0.0)


@pytest.fixture
def without_weight() -> Iterator[None]:
    RULES.add("no_weight", no_weight)
    yield
    RULES.remove("no_weight")


@pytest.mark.parametrize(("ranks", "rule"), [((1,), "dedup"), ((6,), "no_weight")])
def test_i18_one_column_or_no_weight_is_lora(bert, data, without_weight, ranks, rule):
    """With g = 1 there are no two columns that could point the same way."""
    found = []
    for name in (rule, "plain"):
        with pack(bert, data, trial(bert, ranks=ranks, rule=name)) as one:
            one.advance(N_STEPS)
            found.append(updates(one))
    torch.testing.assert_close(found[0], found[1])


def test_i17_all_of_adalora_is_lora_of_its_gates_and_columns(bert, data):
    """What it keeps are ranks a map: cut to them, LoRA has the same updates."""
    with pack(bert, data, trial(bert, "adalora", (4,), keep=0.5, every=4)) as adaptive:
        adaptive.advance(N_STEPS)
        found, made = values(adaptive), updates(adaptive)
        (scale,) = set(adaptive.specs[0].adapter.scales(0))
    maps = zip(*(found[name].flatten(0, -3) for name in ("input", "output")), strict=True)
    for (left, right), gates, update in zip(maps, found["gate"].flatten(0, -2), made, strict=True):
        kept = gates != 0
        lora = scale * (left[:, kept] * gates[kept]) @ right[:, kept].mT
        torch.testing.assert_close(lora, update)
        assert torch.linalg.matrix_rank(update) == int(kept.sum())
