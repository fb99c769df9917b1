"""On a GPU: a recorded step is the eager step, a trial alone is the trial in a pack, paused and
resumed is unbroken.
"""

from itertools import pairwise

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tenslora_search.backbone.ready import made_ready
from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Classes
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import proportional
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
N_STEPS = 40
BFLOAT16 = 0.05
"""Relative distance of all that a trial has learnt after 40 steps in bfloat16, where packs of
another size round otherwise.
"""


def rows(n_rows: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 30, (n_rows,), generator=generator)
    ids = torch.randint(4, 100, (n_rows, 30), generator=generator)
    mask = (torch.arange(30) < lengths[:, None]).long()
    inputs = {"input_ids": (ids * mask).cuda(), "attention_mask": mask.cuda()}
    return Split(inputs, (ids[:, 1] >= 52).long().cuda(), lengths)


@pytest.fixture(scope="module")
def data() -> TaskData:
    return TaskData(
        "first token",
        Classes(("low", "high"), "accuracy"),
        rows(300, 0),
        rows(100, 1),
        rows(100, 2),
        "",
    )


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    return made_ready(
        BertForSequenceClassification(
            BertConfig(vocab_size=100, max_position_embeddings=32, **sizes)
        ).eval()
    )


@pytest.fixture(scope="module")
def trials(model) -> list[TrialSpec]:
    """Every construction x decomposition, the rules in turn."""
    geometry, rules = geometry_of(model), list(RULES)
    pairs = [
        (construction, decomposition)
        for construction in CONSTRUCTIONS
        for decomposition in DECOMPOSITIONS
    ]
    specs = [
        AdapterSpec.of(*pair, proportional(Structure.of(*pair, geometry), 6000), geometry)
        for pair in pairs
    ]
    return [
        TrialSpec(spec, 2e-3, 1e-3, rule=rules[k % len(rules)], seed=k)
        for k, spec in enumerate(specs)
    ]


def trained(model, data, specs, *, recorded: bool = True) -> tuple[list[float], torch.Tensor]:
    with Pack(model, data, specs, max_steps=N_STEPS, batch_size=16) as pack:
        pack._replay._records = recorded
        losses = pack.advance(N_STEPS)
        assert bool(pack._replay._graphs) == recorded
        return losses, pack.optimizer.values.clone()


def test_recorded_is_eager(model, data, trials):
    recorded, eager = trained(model, data, trials), trained(model, data, trials, recorded=False)
    assert recorded[0] == eager[0]
    assert torch.equal(recorded[1], eager[1])


def test_a_pack_gives_the_same_twice(model, data, trials):
    assert torch.equal(trained(model, data, trials)[1], trained(model, data, trials)[1])


def test_alone_is_packed(model, data, trials, tmp_path):
    with Pack(model, data, trials, max_steps=N_STEPS, batch_size=16) as pack:
        pack.advance(N_STEPS)
        together = [learnt(pack, k) for k in range(len(trials))]
    for k, spec in enumerate(trials):
        with Pack(model, data, [spec], max_steps=N_STEPS, batch_size=16) as pack:
            pack.advance(N_STEPS)
            assert (learnt(pack, 0) - together[k]).norm() < BFLOAT16 * together[k].norm(), (
                spec.adapter
            )


def test_paused_and_resumed_is_unbroken(model, data, trials, tmp_path):
    chosen = trials[::6]
    with Pack(model, data, chosen, max_steps=N_STEPS, batch_size=16) as pack:
        pack.advance(N_STEPS)
        expected = [learnt(pack, k) for k in range(len(chosen))]
    with Pack(model, data, chosen, max_steps=N_STEPS, batch_size=16) as pack:
        pack.advance(15)
        states = [pack.save(k, tmp_path / f"{k}.safetensors") for k in range(len(chosen))]
    with Pack(
        model, data, chosen, max_steps=N_STEPS, batch_size=16, from_step=15, states=states
    ) as pack:
        pack.advance(N_STEPS)
        for k, one in enumerate(expected):
            assert torch.equal(learnt(pack, k), one)


def test_rules_are_recorded_and_paused(model, data, ruled, tmp_path):
    """Penalties in the recording, calls between steps outside of it, thresholds, makers: recorded
    is eager, and paused where a rule is to be called is unbroken.
    """
    specs = ruled(geometry_of(model))
    recorded, eager = trained(model, data, specs), trained(model, data, specs, recorded=False)
    assert recorded[0] == eager[0]
    assert torch.equal(recorded[1], eager[1])
    states = None
    for start, stop in pairwise((0, 12, 20, N_STEPS)):
        with Pack(
            model, data, specs, max_steps=N_STEPS, batch_size=16, from_step=start, states=states
        ) as pack:
            pack.advance(stop)
            states = [pack.save(k, tmp_path / f"{stop}-{k}.st") for k in range(len(specs))]
            values = pack.optimizer.values.clone()
    assert torch.equal(values, recorded[1])


def test_rules_alone_are_packed(model, data, ruled):
    specs = ruled(geometry_of(model))
    with Pack(model, data, specs, max_steps=N_STEPS, batch_size=16) as pack:
        pack.advance(N_STEPS)
        together = [learnt(pack, k) for k in range(len(specs))]
    for k, spec in enumerate(specs):
        with Pack(model, data, [spec], max_steps=N_STEPS, batch_size=16) as pack:
            pack.advance(N_STEPS)
            distance = (learnt(pack, 0) - together[k]).norm()
            assert distance < BFLOAT16 * together[k].norm(), spec.adapter


@pytest.mark.parametrize("rank", [1, 8, 64, 300])
def test_a_maker_is_recorded(rank):
    """The Cayley transform of any rank, its gradient too, waits for nothing amid a recording."""
    geometry = Geometry.attention(hidden=384, heads=6, layers=2)
    spec = AdapterSpec.of("none", "nb_lora", (rank,), geometry)
    tensor = FactoredTensor([spec], 0, [torch.Generator().manual_seed(0)]).cuda()
    parameters = list(tensor.parameters())

    def step() -> list[torch.Tensor]:
        left, right = tensor.pairs()
        return list(torch.autograd.grad((left @ right).sin().sum(), parameters))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        expected = [one.clone() for one in step()]
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def learnt(pack: Pack, trial: int) -> torch.Tensor:
    """All that a trial has learnt, in a row, its moments left out."""
    return torch.cat(
        [view.flatten().float() for name, view in pack._views(trial) if name.startswith("value.")]
    )
