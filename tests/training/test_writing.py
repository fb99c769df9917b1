"""At the retest: what trials write in a pack is what each writes alone; what they forget."""

import math

import pytest
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import GOALS
from tenslora_search.data.retain import load_retained
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.token_loss import IGNORED
from tenslora_search.runs.segment import Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.limit import TimeIsUp
from tenslora_search.training.measures import FORGETTING, measures
from tenslora_search.training.pack import Pack
from tenslora_search.training.writing import wanted_texts, writes


class Numbers:
    """A tokenizer whose tokens are their numbers."""

    pad_token_id, eos_token_id = 0, 1

    def decode(self, tokens, *, skip_special_tokens):
        return " ".join(str(int(one)) for one in tokens if int(one) > 1)


@pytest.fixture(scope="module")
def rows() -> Split:
    """Prompts of uneven length, after which their first token is to be written twice."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 9, (24,), generator=generator)
    ids = torch.randint(4, 12, (24, 10), generator=generator)
    targets = torch.full_like(ids, IGNORED)
    for row, length in enumerate(lengths):
        ids[row, length - 2 : length], ids[row, length:] = ids[row, 0], 0
        targets[row, length - 3 : length - 1] = ids[row, 0]
    return Split({"input_ids": ids, "targets": targets}, torch.zeros(24), lengths)


def trained(tiny, rows, seeds):
    """A pack of trials that have learnt for some steps."""
    model, _ = tiny("llama", "ForCausalLM")
    data = TaskData("twice", GOALS["next_token"](metric="minus_loss"), rows, rows, rows, "")
    adapter = AdapterSpec.of("none", "cp", (4,), geometry_of(model))
    specs = [TrialSpec(adapter, 2e-2, 2e-2, seed=seed) for seed in seeds]
    pack = Pack(model, data, specs, max_steps=12, batch_size=8)
    pack.advance(12)
    return pack


def test_written_in_a_pack_is_written_alone(tiny, rows):
    with trained(tiny, rows, (0, 1)) as pack:
        together = writes(pack, rows, Numbers())
    assert together[0] != together[1]
    for place, seed in enumerate((0, 1)):
        with trained(tiny, rows, (seed,)) as pack:
            assert writes(pack, rows, Numbers())[0] == together[place]
            alone = pack.model
            prompt = rows.inputs["input_ids"][:1, : int(rows.lengths[0]) - 2]
            plain = alone.generate(prompt, max_new_tokens=10, do_sample=False, eos_token_id=1)
            text = Numbers().decode(plain[0, prompt.shape[1] :], skip_special_tokens=True)
            assert text.startswith(together[place][0][:4])


def test_writing_ends_when_time_is_up(tiny, rows):
    """At the next token, not at the next batch: one may take half a minute."""
    n_looks = 0

    def is_over(step: int) -> bool:
        nonlocal n_looks
        n_looks += 1
        return step == 12 and n_looks == 3

    with trained(tiny, rows, (0,)) as pack, pytest.raises(TimeIsUp):
        writes(pack, rows, Numbers(), is_over)
    assert n_looks == 3
    with trained(tiny, rows, (0,)) as pack, pytest.raises(TimeIsUp):
        pack.predict(rows, is_over=lambda step: step == 12)


def test_what_was_wanted_is_what_is_learnt(rows):
    first = [str(int(row[0])) for row in rows.inputs["input_ids"]]
    assert wanted_texts(rows, Numbers()) == [f"{one} {one}" for one in first]


def test_forgetting_is_the_rise_of_the_loss(tiny, rows, monkeypatch):
    inputs = {name: value.flip(0) for name, value in rows.inputs.items()}
    other = Split(inputs, rows.labels, rows.lengths.flip(0))
    goal = GOALS["next_token"](metric="minus_loss")
    kept = TaskData("kept", goal, other, other, other, "")
    monkeypatch.setattr("tenslora_search.training.measures.load_retained", lambda *_: kept)
    with trained(tiny, rows, (0, 1)) as pack:
        setting = Setting("a model", {"name": None}, 8, 12, retain="kept")
        found = measures(pack, setting, pack.data, lambda data: data)
        after = pack.scores(other)
    model, _ = tiny("llama", "ForCausalLM")
    batch = {**other.inputs, "labels": other.labels}
    before = float(goal.losses(model, batch, 1))
    rises = [one[FORGETTING] for one in found]
    assert rises == pytest.approx([-score - before for score in after], abs=1e-4)
    assert all(rise < 0 and math.isfinite(rise) for rise in rises)  # it is the text that is learnt


def test_the_columns_of_what_is_retained_are_told_with_its_option(tmp_path, tiny_llama):
    file = tmp_path / "kept.csv"
    file.write_text("a,b\n" + "good,1\n" * 9)
    with pytest.raises(QuestionError, match=r"^--retain .*kept.csv: no columns .* their names.$"):
        load_retained(str(file), tiny_llama, 32)
    file.write_text("")
    with pytest.raises(QuestionError, match=r"^--retain .*kept.csv is empty.$"):
        load_retained(str(file), tiny_llama, 32)


@pytest.mark.parametrize(
    ("retain", "model", "message"),
    [
        ("wikitxt2", "tiny_llama", "neither a task nor a file. Tasks of text: wikitext2, gsm8k"),
        ("wikitext2", "tiny_bert", "model '.*' writes none"),
    ],
)
def test_what_cannot_be_retained_is_told(retain, model, message, request):
    with pytest.raises(QuestionError, match=message):
        load_retained(retain, request.getfixturevalue(model), 32)
