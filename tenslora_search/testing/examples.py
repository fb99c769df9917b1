"""What goals are checked on: rows made on the spot, and a tiny model of GEOMETRY."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.goals import Goal
from tenslora_search.data.labels import LabelColumn
from tenslora_search.data.task import TaskData
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack

GEOMETRY = Geometry.attention(hidden=16, heads=2, layers=2)
"""Of the model that packs are checked on."""
N_STEPS = 6


def labels_of(kind: type[Goal]) -> Any:
    """Targets of 24 rows, from the first kind of cells that the goal reads."""
    for two in ((0.5, 2.25), (["a"], ["a", "b"]), ("a", "b")):
        cells = {"train": pd.Series([two[k % 2] for k in range(24)], dtype=object)}
        try:
            return kind.read(LabelColumn(cells, "label", "a check", is_certain=True))
        except (QuestionError, TypeError, ValueError):
            continue
    raise AssertionError(f"goal {kind.name} reads neither numbers, nor lists, nor names.")


def data_of(goal: Goal, targets: torch.Tensor) -> TaskData:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(3, 10, (len(targets),), generator=generator)
    mask = (torch.arange(10) < lengths[:, None]).long()
    ids = torch.randint(4, 30, mask.shape, generator=generator) * mask
    split = Split({"input_ids": ids, "attention_mask": mask}, targets, lengths)
    return TaskData("a check", goal, split, split, split, "")


def written_data(goal: Goal, targets: torch.Tensor) -> TaskData:
    """Lines of tokens, of which the later half is learnt; several choices where it reads them."""
    plain = data_of(goal, targets).fit
    ids, n_tokens = plain.inputs["input_ids"], plain.inputs["input_ids"].shape[1]
    places = torch.arange(n_tokens).expand_as(ids)
    counted = (places >= plain.lengths[:, None] // 2) & (places < plain.lengths[:, None] - 1)
    wanted = torch.where(counted, ids.roll(-1, 1), -100)
    inputs = {"input_ids": ids, "targets": wanted}
    if "choices" in goal.kinds:
        inputs = {name: torch.stack([one, one.roll(1, 0)], 2) for name, one in inputs.items()}
    if goal.writes == "encoder-decoder":
        inputs["attention_mask"] = plain.inputs["attention_mask"]
    split = Split(inputs, targets, plain.lengths)
    return TaskData("a check", goal, split, split, split, "")


def model_for(goal: Goal) -> Any:
    """A tiny model of `GEOMETRY`."""
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 32}
    if goal.writes == "decoder":
        sizes |= {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    if goal.writes:  # the two attentions of one layer
        sizes |= {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 0}
        sizes |= {"num_decoder_layers": 1, "decoder_start_token_id": 0}
        config = transformers.T5Config(**sizes)
        return transformers.T5ForConditionalGeneration(config)
    sizes |= {"max_position_embeddings": 16, "hidden_size": 16, "num_hidden_layers": 2}
    config = transformers.BertConfig(**sizes, num_attention_heads=2, intermediate_size=32)
    goal.configure(config)
    return transformers.BertForSequenceClassification(config)


def pack_of(data: TaskData, trials: Sequence[TrialSpec], **more: Any) -> Pack:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_for(data.goal)
    return Pack(model, data, trials, max_steps=N_STEPS, batch_size=8, **more)
