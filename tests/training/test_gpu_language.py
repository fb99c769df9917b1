"""On a GPU: a language model's pack is recorded, and a trial in it is the trial alone; over a base
of 4 bits too, where bitsandbytes is installed.
"""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from tenslora_search.backbone.load import load_backbone
from tenslora_search.backbone.ready import made_ready
from tenslora_search.data.batches import Split
from tenslora_search.data.goals import GOALS
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.token_loss import IGNORED
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
N_STEPS = 30


def rows(seed: int) -> Split:
    """Texts of two lengths, so that two widths are recorded; the later half is learnt."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.where(torch.rand(200, generator=generator) < 0.5, 20, 90)
    ids = torch.randint(4, 100, (200, 90), generator=generator)
    places = torch.arange(90)
    counted = (places >= 10) & (places < lengths[:, None] - 1)
    targets = torch.where(counted, ids.roll(-1, 1), IGNORED)
    inputs = {"input_ids": ids.cuda(), "targets": targets.cuda()}
    return Split(inputs, torch.zeros(200, dtype=torch.int64).cuda(), lengths)


@pytest.fixture(scope="module")
def data() -> TaskData:
    return TaskData("text", GOALS["next_token"](metric="minus_loss"), *map(rows, range(3)), "")


def llama(*, exact: bool):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=100, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=128, max_position_embeddings=128,
    )  # fmt: skip
    return made_ready(LlamaForCausalLM(config).eval(), exact=exact)


def trials(model) -> list[TrialSpec]:
    sites = ("query", "key", "value", "out", "up", "gate", "down")
    specs = [
        AdapterSpec.of("none", "cp", (2,), geometry_of(model, sites)),
        AdapterSpec.of("qkv_depth", "cp", (3,), geometry_of(model, ("query", "value"))),
        AdapterSpec.of("none", "cp", (4,), geometry_of(model, sites[:4])),
    ]
    return [TrialSpec(spec, 2e-3, 1e-3, seed=k) for k, spec in enumerate(specs)]


def trained(model, data, specs, *, recorded: bool = True):
    with Pack(model, data, specs, max_steps=N_STEPS, batch_size=8) as pack:
        pack._replay._records = recorded
        losses = pack.advance(N_STEPS)
        assert bool(pack._replay._graphs) == recorded
        return losses, pack.scores(data.select)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("tenslora_search.nn.token_loss.MOST_LOGITS", 100 * 300)


@pytest.mark.usefixtures("small_chunks")
def test_recorded_is_eager(data):
    model = llama(exact=False)
    specs = trials(model)
    recorded, eager = (trained(model, data, specs, recorded=one) for one in (True, False))
    assert recorded[0] == pytest.approx(eager[0], rel=1e-3)
    assert recorded[1] == pytest.approx(eager[1], rel=1e-3)


def test_alone_is_packed(data):
    model = llama(exact=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    specs = trials(model)
    together = trained(model, data, specs)
    torch.backends.cuda.matmul.allow_tf32 = True
    for place, spec in enumerate(specs):
        alone = trained(model, data, [spec])
        assert alone[1][0] == pytest.approx(together[1][place], rel=2e-3)


@pytest.fixture(scope="module")
def four_bits(tiny_llama, tmp_path_factory):
    """A Llama saved in 4 bits, as a search loads it from its folder."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("quantized")
    llama(exact=True).save_pretrained(folder / "whole")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    made = AutoModelForCausalLM.from_pretrained(
        folder / "whole", quantization_config=how, device_map={"": 0}, dtype=torch.bfloat16
    )
    made.save_pretrained(folder / "four")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder / "four")
    goal = GOALS["next_token"](metric="minus_loss")
    return made_ready(load_backbone(str(folder / "four"), goal).model)


def test_a_base_of_four_bits_stays_while_a_pack_learns(four_bits, data):
    weight = four_bits.model.layers[0].self_attn.q_proj.weight
    assert weight.dtype == torch.uint8
    before, specs = weight.clone(), trials(four_bits)
    recorded, eager = (trained(four_bits, data, specs, recorded=one) for one in (True, False))
    assert recorded[1] == pytest.approx(eager[1], rel=5e-3)
    assert torch.equal(before, weight)
    for place, spec in enumerate(specs):
        _, alone = trained(four_bits, data, [spec])
        assert alone[0] == pytest.approx(recorded[1][place], rel=5e-3)  # in bfloat16
