"""A tiny text model and a task for it, for the tests of packs."""

import pytest
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.task import TaskData


@pytest.fixture(scope="session")
def tokens():
    """tokens(n_rows, seed, regression) -> rows of uneven length, whose label is whether their first
    token is among the upper half of the vocabulary.
    """

    def draw(n_rows: int, seed: int, *, regression: bool = False) -> Split:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, 14, (n_rows,), generator=generator)
        ids = torch.randint(4, 30, (n_rows, 14), generator=generator)
        mask = (torch.arange(14) < lengths[:, None]).long()
        labels = (ids[:, 1] >= 17).long()
        return Split(
            {"input_ids": ids * mask, "attention_mask": mask},
            labels.float() if regression else labels,
            lengths,
        )

    return draw


@pytest.fixture(scope="module")
def data(tokens) -> TaskData:
    fit, select, report = (tokens(n, seed) for seed, n in enumerate((60, 40, 40)))
    return TaskData("first token", "accuracy", ("low", "high"), False, fit, select, report, "")


@pytest.fixture(scope="module")
def bert():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return BertForSequenceClassification(
        BertConfig(vocab_size=32, max_position_embeddings=16, **sizes)
    ).eval()
