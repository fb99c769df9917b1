"""Batches: a pure function of (split, batch_size, seed), every row once an epoch, rows of like
length together.
"""

import pytest
import torch

from tenslora_search.data.batches import Batches, Split, _width
from tenslora_search.spec.table import QuestionError


def split_of(n_rows: int, longest: int = 61) -> Split:
    lengths = torch.randint(1, longest, (n_rows,), generator=torch.Generator().manual_seed(0))
    lengths[0] = longest
    mask = torch.arange(longest) < lengths[:, None]
    ids = torch.arange(1, n_rows + 1)[:, None] * mask
    return Split({"input_ids": ids, "attention_mask": mask.long()}, torch.arange(n_rows), lengths)


def epoch(batches: Batches, number: int) -> list[list[int]]:
    return [
        batches[number * batches.steps_per_epoch + step].tolist()
        for step in range(batches.steps_per_epoch)
    ]


def test_every_row_once_an_epoch_when_the_batch_divides():
    batches = Batches(split_of(96), 8, 0)
    for number in range(3):
        assert sorted(row for rows in epoch(batches, number) for row in rows) == list(range(96))
    assert epoch(batches, 0) != epoch(batches, 1)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(100, 8), (3, 8), (1, 1), (409, 32)])
def test_batches_are_always_full(n_rows, batch_size):
    seen = epoch(Batches(split_of(n_rows), batch_size, 5), 2)
    counts = torch.bincount(torch.tensor(seen).flatten(), minlength=n_rows)
    assert {len(batch) for batch in seen} == {batch_size}
    assert counts.min() >= 1
    assert counts.sum() - n_rows < batch_size


def test_random_access_equals_going_through():
    split = split_of(100)
    through = [Batches(split, 8, 1)[step].tolist() for step in range(40)]
    one = Batches(split, 8, 1)
    assert [one[step].tolist() for step in (39, 3, 17, 0)] == [
        through[step] for step in (39, 3, 17, 0)
    ]
    assert [Batches(split, 8, 2)[step].tolist() for step in range(40)] != through


def test_rows_of_like_length_share_a_batch():
    split = split_of(800)
    lengths = [split.lengths[torch.tensor(rows)] for rows in epoch(Batches(split, 8, 0), 0)]
    spread = [int(batch.max() - batch.min()) for batch in lengths]
    assert sum(spread) / len(spread) < 5  # 47 where batches are drawn blindly
    first = [int(batch.max()) for batch in lengths]
    assert first != sorted(first)  # the batches themselves come in no order of length


def test_take_cuts_to_the_bucket():
    split = split_of(50)
    short = torch.nonzero(split.lengths <= 13).flatten()[:4]
    batch = Batches.take(split, short)
    longest = int(split.lengths[short].max())
    assert batch["input_ids"].shape == (4, -(-longest // 8) * 8)
    assert [_width(longest) for longest in (1, 8, 9, 32, 33, 64, 65, 128, 129)] == [
        8,
        8,
        16,
        32,
        48,
        64,
        96,
        128,
        192,
    ]
    assert (batch["attention_mask"].sum(1) == split.lengths[short]).all()
    assert batch["labels"].tolist() == short.tolist()
    assert Batches.take(split, short, width=16)["input_ids"].shape == (4, 16)
    assert Batches.take(split, torch.tensor([0]))["input_ids"].shape == (
        1,
        61,
    )  # never wider than the split


def test_no_batch_of_none():
    with pytest.raises(QuestionError, match="batch_size must be 1 or more; got 0"):
        Batches(split_of(4), 0, 0)
