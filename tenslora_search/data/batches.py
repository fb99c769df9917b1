"""Split: rows as tensors; Batches: the order in which they are seen."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.table import QuestionError


@dataclass
class Split:
    """Rows of one split as tensors.

    inputs: text: input_ids, attention_mask, for some models token_type_ids, (n, length) int64,
    padded on the right to the longest; image: pixel_values (n, 3, height, width), uint8 as resized:
    `Batches.take` makes them the model's float32.
    """

    inputs: dict[str, Tensor]
    labels: Tensor  # (n,) int64 of classes, float32 of numbers; (n, n_labels) float32 of 0 and 1
    lengths: Tensor  # (n,) int64, tokens a row; all 1 for images
    processor: ImageProcessor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.bool_]) -> "Split":
        """The rows that are True in chosen (n,)."""
        rows = torch.from_numpy(chosen)
        inputs = {name: value[rows.to(value.device)] for name, value in self.inputs.items()}
        return Split(
            inputs, self.labels[rows.to(self.labels.device)], self.lengths[rows], self.processor
        )


class Batches:
    """The order in which the fit split is seen: a pure function of (split, batch_size, seed),
    random access by step.

    Every epoch is shuffled anew and holds every row; the last batch is filled up with rows from the
    epoch's start. Rows of like length share a batch: within a stretch of POOL batches rows are
    ordered by length, then batches are shuffled.
    """

    POOL = 50

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise QuestionError(f"batch_size must be 1 or more; got {batch_size}.")
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.steps_per_epoch = -(-len(split) // batch_size)
        self._lengths = split.lengths.numpy()
        self._epoch, self._order = -1, np.empty((0, batch_size), dtype=np.int64)

    def __getitem__(self, step: int) -> Tensor:
        """Row numbers of the step counted from 0: (batch_size,) int64."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return torch.from_numpy(self._order[batch])

    def plan(self, steps: range) -> tuple[Tensor, list[int]]:
        """Row numbers of all steps, (step, batch_size) int64, and the width that each step's texts
        are cut to.
        """
        rows = (
            torch.stack([self[step] for step in steps])
            if steps
            else torch.empty(0, self.batch_size, dtype=torch.int64)
        )
        return rows, [_width(longest) for longest in self.split.lengths[rows].amax(1).tolist()]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """The epoch's batches: (steps_per_epoch, batch_size)."""
        generator = np.random.default_rng([self.seed, epoch])
        order = np.resize(
            generator.permutation(len(self.split)), self.steps_per_epoch * self.batch_size
        )
        pool = self.POOL * self.batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate(
            [rows[np.argsort(self._lengths[rows], kind="stable")] for rows in pools]
        )
        return generator.permutation(order.reshape(-1, self.batch_size))

    @staticmethod
    def take(split: Split, indices: Tensor, *, width: int | None = None) -> dict[str, Tensor]:
        """Inputs and "labels" of those rows; texts are cut to `width`, or to the longest, rounded
        up.

        With a width and indices on the split's device nothing waits for that device.
        """
        if split.processor is not None:
            pixels = split.processor.normalise(split.inputs["pixel_values"][indices])
            return {"pixel_values": pixels, "labels": split.labels[indices]}
        width = width or _width(int(split.lengths[indices.cpu()].max()))
        batch = {name: tensor[:, :width][indices] for name, tensor in split.inputs.items()}
        return batch | {"labels": split.labels[indices]}


def _width(longest: int) -> int:
    """Up to a multiple of 8, beyond 32 of 16, beyond 64 of 32, and so on: little padding, and few
    widths to record.
    """
    multiple = 8
    while longest > 4 * multiple:
        multiple *= 2
    return -(-longest // multiple) * multiple
