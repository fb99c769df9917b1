"""Language goals: each token's loss is transformers' own, alone and in a pack, with padding; what
carries no loss; how rows become lines.
"""

import pytest
import torch

from tenslora_search.data.goals import GOALS
from tenslora_search.nn.attach import attach
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.token_loss import (
    IGNORED,
    Head,
    check_head,
    naive_token_losses,
    token_losses,
)

CAUSAL = ("llama", "qwen3", "gpt2", "gpt_neox", "opt", "phi", "gemma2")


@pytest.mark.parametrize("options", [{}, {"scale": 0.5}, {"cap": 3.0}, {"bias": True}])
def test_losses_in_chunks_and_their_gradients_are_those_of_all_logits(options, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *sizes: torch.randn(*sizes, generator=generator)  # noqa: E731
    bias = draw(19) if options.pop("bias", False) else None
    head = Head(draw(19, 6), bias, **options)
    targets = torch.randint(0, 19, (23,), generator=generator)
    targets[::4] = IGNORED
    states, weights = draw(23, 6), draw(23)
    found = []
    for losses_of in (token_losses, naive_token_losses):
        monkeypatch.setattr("tenslora_search.nn.token_loss.MOST_LOGITS", 8 * 19 * 5)
        mine = states.clone().requires_grad_()
        losses = losses_of(mine, head, targets)
        found.append((losses, torch.autograd.grad((losses * weights).sum(), mine)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert not found[0][0][::4].any()


@pytest.mark.parametrize("family", CAUSAL)
def test_a_trials_loss_is_that_of_transformers(family, tiny, perturb):
    """Alone, and of each trial of a pack, whose rows are padded."""
    model, _ = tiny(family, "LMHeadModel" if family == "gpt2" else "ForCausalLM")
    check_head(model)
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8, 9, 3], [9, 4, 11, 3, 3, 3]]),
        "targets": torch.tensor(
            [[IGNORED, IGNORED, 8, 9, 3, IGNORED], [IGNORED, 11, 3, IGNORED, IGNORED, IGNORED]]
        ),
        "labels": torch.zeros(2),
    }
    goal = GOALS["next_token"](metric="minus_loss")
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    labels = torch.full((2, 6), IGNORED)
    labels[:, 1:] = batch["targets"][:, :-1]
    plain = model(input_ids=batch["input_ids"], attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(goal.losses(model, batch, 1)[0], plain, rtol=1e-5, atol=1e-5)
    from tenslora_search.spec.adapter import AdapterSpec

    geometry = geometry_of(model, ("query", "key", "value", "out", "up", "down"))
    specs = [AdapterSpec.of("none", "cp", (rank,), geometry) for rank in (2, 3)]
    pack = attach(model, specs, seeds=(0, 1), train_head=False)
    perturb(pack, 0.3)
    found = goal.losses(model, batch, 2)
    pack.detach()
    for trial, spec in enumerate(specs):
        alone = attach(model, spec, train_head=False)
        with torch.no_grad():
            for (mine, place), (theirs, at) in zip(
                alone.tensors_of(0), pack.tensors_of(trial), strict=True
            ):
                for name, factor in mine.factors.items():
                    mine.of_trial(name, factor, place).copy_(
                        theirs.of_trial(name, theirs.factors[name], at)
                    )
        expected = model(input_ids=batch["input_ids"], attention_mask=mask, labels=labels).loss
        alone.detach()
        assert (expected - plain).abs() > 1e-4
        torch.testing.assert_close(found[trial], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_loss_of_an_encoder_and_decoder_is_that_of_transformers(family, tiny):
    model, _ = tiny(family, "ForConditionalGeneration")
    check_head(model)
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 1], [9, 1, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "targets": torch.tensor([[8, 1, IGNORED, IGNORED], [4, 5, 6, 1]]),
        "labels": torch.zeros(2),
    }
    found = GOALS["sequence"](metric="minus_loss").losses(model, batch, 2)
    options = {name: batch[name] for name in ("input_ids", "attention_mask")}
    expected = model(**options, labels=batch["targets"]).loss
    torch.testing.assert_close(found, expected.expand(2), rtol=1e-5, atol=1e-5)


def test_a_choice_is_scored_as_a_plain_loop_scores_it(tiny):
    model, _ = tiny("llama", "ForCausalLM")
    prompt, choices = [5, 6, 7], [[[8], [9, 10], [11, 3, 4]], [[4, 4], [7]]]
    tokens = torch.full((2, 7, 3), 1)
    targets = torch.full((2, 7, 3), IGNORED)
    expected = torch.full((2, 3), -1e9)
    for row, answers in enumerate(choices):
        for place, answer in enumerate(answers):
            line = torch.tensor(prompt + answer)
            tokens[row, : len(line), place] = line
            targets[row, 2 : len(line) - 1, place] = line[3:]
            logs = model(input_ids=line[None]).logits[0].log_softmax(-1)
            each = [logs[at, line[at + 1]].item() for at in range(2, len(line) - 1)]
            expected[row, place] = sum(each) / len(each)
    goal = GOALS["choice"](metric="accuracy")
    batch = {"input_ids": tokens, "targets": targets, "labels": torch.tensor([2, 0])}
    found = goal.answers(model, batch, 2)
    torch.testing.assert_close(found, expected.expand(2, 2, 3), rtol=1e-5, atol=1e-5)
    truth = expected.argmax(1).numpy()
    assert goal.score(found[0].detach().numpy(), truth) == 1
    right = torch.tensor([-1 * (expected[0, 2] * 3 + expected[1, 0] * 2) / 5])
    torch.testing.assert_close(goal.losses(model, batch, 1), right, rtol=1e-5, atol=1e-5)
