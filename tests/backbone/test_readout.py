"""StackedHeads: what is pretrained in a head starts so in every trial; the rest is drawn for
each."""

import torch

from tenslora_search.backbone.readout import StackedHeads


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(3)]


def test_pretrained_maps_of_a_head_are_kept(tiny):
    model, inputs = tiny("modernbert")
    anew = ("classifier.bias", "classifier.weight")  # head.dense is in the checkpoint
    pretrained = model.head.dense.weight.clone()
    heads = StackedHeads(model, generators(), anew)
    found = heads.parameters
    assert all(torch.equal(one, pretrained.T) for one in found["head.dense.weight"])
    assert not torch.equal(*found["classifier.weight"][:2])
    assert model(**{name: value.repeat(3, 1) for name, value in inputs.items()}).logits.shape == (
        12,
        2,
    )
    heads.detach()
    assert torch.equal(model.head.dense.weight, pretrained)


def test_biases_of_pretrained_maps_are_kept(tiny):
    model, _ = tiny("roberta")
    with torch.no_grad():
        model.classifier.dense.bias.fill_(0.5)
        model.classifier.out_proj.bias.fill_(0.5)
    anew = ()  # a head that was stored whole: its last map is another task's
    found = StackedHeads(model, generators(), anew).parameters
    assert (found["classifier.dense.bias"] == 0.5).all()
    assert (found["classifier.out_proj.bias"] == 0).all()


def test_maps_that_the_weights_do_not_give_are_drawn(tiny):
    """So is all of the head of a model that does not say what was given."""
    for anew in (("classifier.dense.weight",), None):
        model, _ = tiny("roberta")
        one, other, _ = StackedHeads(model, generators(), anew).parameters[
            "classifier.dense.weight"
        ]
        assert not torch.equal(one, other)
