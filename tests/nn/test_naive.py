"""The plain reference agrees with torch, and each fast path with the plain reference."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from tenslora_search.nn.attach import attach
from tenslora_search.nn.naive import PlainSite, adamw_step, weights
from tenslora_search.nn.places import geometry_of
from tenslora_search.nn.sites import Site, Update
from tenslora_search.spec.form import Care
from tenslora_search.spec.fused import Columns
from tenslora_search.training.optimizer import PackedAdamW, Part


def assert_close(found, expected, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1e-12)


@pytest.mark.parametrize(
    "columns", [Columns(0, 12), Columns(3, 4), Columns(1, 2, 3)], ids=["all", "block", "runs"]
)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("plain", [False, True], ids=["by autograd", "in place"])
def test_a_site(columns, dense, plain):
    """Two trials side by side, over some columns: outputs and all gradients of two plain sites."""
    torch.manual_seed(0)
    frozen = nn.Linear(5, 12).requires_grad_(False)
    frozen.weight.requires_grad_(not plain)
    width = columns.width * columns.runs
    shapes = [(2, 5, width)] if dense else [(2, 5, 3), (2, 3, width)]
    matrices = tuple(torch.randn(shape, requires_grad=True) for shape in shapes)
    x = torch.randn(4, 3, 5, requires_grad=True)
    site = Site(frozen, "it", 2)
    site.serve([])
    site.updates.append(Update(0, 2, columns, matrices))
    found = site(x)

    product = matrices[0] @ matrices[1] if len(matrices) == 2 else matrices[0]
    runs = torch.zeros(2, 5, columns.runs, 12 // columns.runs)
    ends = slice(columns.start, columns.start + columns.width)
    runs[..., ends] = product.view(2, 5, columns.runs, columns.width)
    updates = runs.reshape(2, 5, 12)
    expected = torch.cat(
        [PlainSite(frozen, u)(rows) for u, rows in zip(updates, x.chunk(2), strict=True)]
    )
    assert_close(found, expected)
    with_gradients = [x, *matrices]
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), with_gradients),
        torch.autograd.grad(expected.square().sum(), with_gradients),
        strict=True,
    ):
        assert_close(one, other)


def test_weights_of_a_model(family, tiny, small_spec, perturb):
    model, inputs = tiny(family)
    plain = copy.deepcopy(model)
    adapter = attach(model, small_spec("att_qkv_depth", "cp", geometry_of(model)))
    perturb(adapter)
    with torch.no_grad():
        expected = functional_call(plain, weights(adapter), (), inputs).logits
        assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw(decay):
    torch.manual_seed(0)
    start, gradients = torch.randn(1, 7), torch.randn(4, 1, 7)
    value, mean, square = start.clone(), torch.zeros(1, 7), torch.zeros(1, 7)
    theirs = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.1, weight_decay=decay)
    packed = nn.Parameter(start.clone())
    ours = PackedAdamW(
        [Part(packed, range(1), [0.1], [Care()])],
        weight_decay=torch.tensor([decay]),
        clip=torch.tensor([1e9]),
    )
    for step, gradient in enumerate(gradients, 1):
        adamw_step(value, gradient, mean, square, step, 0.1, decay)
        theirs.grad = gradient.clone()
        optimizer.step()
        number = torch.tensor([float(step)], dtype=torch.float64)
        ours.step([gradient], number, torch.ones(1))
    assert_close(value, theirs.detach())
    assert_close(packed.detach(), theirs.detach())
