"""States: what 0.1.0 wrote is read; what is garbled is one line."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tenslora_search.nn.places import geometry_of
from tenslora_search.runs.states import is_whole
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.pack import Pack
from tenslora_search.training.states import NOTE, load_state, read_state, write_state

GOLDEN = Path(__file__).parents[1] / "golden" / "run" / "states"


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_states_of_0_1_0_are_read(name):
    about, tensors = read_state(GOLDEN / name)
    spec = TrialSpec.from_json(about["spec"])
    kinds = {name.partition(".")[0] for name in tensors}
    assert kinds == {"value", "mean", "square"}
    factors = [name for name in tensors if name.startswith("value.0.")]
    assert sum(tensors[name].numel() for name in factors) == spec.adapter.n_params
    views = [(name, torch.empty_like(value)) for name, value in tensors.items()]
    load_state(GOLDEN / name, views, step=about["step"], spec=spec)
    assert all(torch.equal(view, tensors[name]) for name, view in views)


def views_of(tensors: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    return [(name, torch.empty_like(value)) for name, value in tensors.items()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": "three"}, "'three'"),
        ({"step": True}, "True"),
        ({"step": -1}, "-1"),
        ({"step": None}, "None"),
        ({"spec": 3}, "no"),
        ({"spec": []}, "no"),
        ({"spec": {"adapter": 4}}, "missing"),
    ],
)
def test_a_garbled_note_is_one_line(tmp_path, change, said):
    path = shutil.copy(GOLDEN / "0-160.safetensors", tmp_path / "0.safetensors")
    about, tensors = read_state(path)
    spec = TrialSpec.from_json(about["spec"])
    save_file(tensors, path, metadata={NOTE: json.dumps(about | change)})
    with pytest.raises(QuestionError) as error:
        load_state(path, views_of(tensors), step=about["step"], spec=spec)
    assert "\n" not in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("trouble", ["missing", "of another shape"])
def test_a_tensor_that_is_not_there_is_one_line(tmp_path, trouble):
    path = shutil.copy(GOLDEN / "0-160.safetensors", tmp_path / "0.safetensors")
    about, tensors = read_state(path)
    spec, wanted = TrialSpec.from_json(about["spec"]), views_of(tensors)
    name = sorted(tensors)[0]
    if trouble == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name].flatten()[:1]
    save_file(tensors, path, metadata={NOTE: json.dumps(about)})
    with pytest.raises(QuestionError) as error:
        load_state(path, wanted, step=about["step"], spec=spec)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("decomposition", "formula"),
    [
        ("sora", lambda r, d_in, d_out: r * (d_in + d_out) + r),
        ("nb_lora", lambda r, d_in, d_out: r * (d_in + d_out) + r),
    ],
)
def test_count_is_formula_is_module_is_state(bert, data, tmp_path, decomposition, formula):
    adapter = AdapterSpec.of("none", decomposition, (3,), geometry_of(bert))
    expected = 6 * formula(3, 16, 16)
    assert adapter.n_params == sum(adapter.factor_counts.values()) == expected
    with Pack(bert, data, [TrialSpec(adapter, 1e-3, 1e-3)], max_steps=4, batch_size=4) as pack:
        pack.advance(2)
        parameters = [value for tensor in pack.adapter.tensors for value in tensor.parameters()]
        _, tensors = read_state(pack.save(0, tmp_path / "0.safetensors"))
    stored = [value for name, value in tensors.items() if name.startswith("value.0.")]
    assert sum(math.prod(value.shape) for value in parameters) == expected
    assert sum(value.numel() for value in stored) == expected


def test_a_flipped_bit_is_told(tmp_path):
    """Wherever it is: in what was learnt, in the spec, in a shape."""
    path, spec = tmp_path / "0-1.safetensors", {"adapter": 1}
    views = [("value.0.left", torch.arange(8.0)), ("value.0.right", torch.ones(2, 3))]
    content = write_state(path, views, {"step": 3, "spec": spec}).read_bytes()
    assert read_state(path)[0] == {"step": 3, "spec": spec}
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert not is_whole(path)
        with pytest.raises(QuestionError):
            read_state(path)
