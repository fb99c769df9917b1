"""AdapterSpec: counts against two oracles, caps, canonical form and JSON over whole tables, and
what is refused.
"""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import HEAD_LAYOUTS, AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry, Group
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError

BASE = Geometry.attention(hidden=768, heads=12, layers=12)
GROUPED = Geometry.attention(hidden=12, heads=6, layers=4, kv_heads=2)
GOLDEN = list(
    csv.DictReader(
        (Path(__file__).parents[1] / "golden" / "tucker_counts.csv").open(encoding="utf-8")
    )
)


@pytest.mark.parametrize(
    "row", GOLDEN, ids=lambda row: f"{row['construction']}-{row['hidden']}-{row['ranks']}"
)
def test_release_counts(row):
    """Parameters of the TensLoRA release; some of its ranks are above their caps, where the formula
    holds as well.
    """
    geometry = Geometry.attention(*(int(row[name]) for name in ("hidden", "heads", "layers")))
    ranks = tuple(map(int, row["ranks"].split("x")))
    assert Structure.of(row["construction"], "tucker", geometry).count(ranks) == int(
        row["parameters"]
    )


@pytest.mark.parametrize(
    ("decomposition", "ranks"),
    [
        ("cp", (7,)),
        ("tucker", (5, 3, 2, 3, 4)),
        ("tensor_train", (5, 6, 4, 3)),
        ("tensor_ring", (2, 3, 4, 3, 2)),
    ],
)
def test_tensorly_counts(decomposition, ranks):
    """TensorLy's own parameter counts for the one tensor of `att_qkv_depth`."""
    tensorly = pytest.importorskip("tensorly")
    from tensorly import cp_tensor, tr_tensor, tt_tensor, tucker_tensor

    assert tensorly.__name__ == "tensorly"
    chain = (768, 12, 3, 12, 64)  # input, layer, projection, head, head_dim
    found = Structure.of("att_qkv_depth", decomposition, BASE).count(ranks)
    if decomposition == "cp":
        assert found == cp_tensor._cp_n_param(chain, ranks[0], weights=False)
    elif decomposition == "tucker":
        assert found == tucker_tensor._tucker_n_param((768, 64, 12, 3, 12), ranks)
    elif decomposition == "tensor_train":
        assert found == tt_tensor._tt_n_param(chain, (1, *ranks, 1))
    else:
        assert found == tr_tensor._tr_n_param(chain, (ranks[-1], *ranks))


@pytest.mark.parametrize(
    ("construction", "decomposition", "ranks", "expected"),
    [
        ("none", "cp", (8,), 442_368),
        ("qkv_depth", "tucker", (59, 59, 3, 12), 216_093),
        ("att_qkv_depth", "tucker", (52, 8, 12, 3, 12), 220_457),
        ("depth", "tucker", (37, 37, 12), 220_212),
        ("qkv", "tucker", (8, 8, 3), 149_868),
        ("none", "sora", (8,), 442_656),
        ("qkv_depth", "fact_tk", (32, 32, 32), 2 * 768 * 32 + 36 * 32 + 32**3),
        ("att_qkv_depth", "cara", (16,), 16 * (36 + 768 + 12 + 64) + 16),
        ("none", "loretta", (5,) * 7, 36 * (565 + 485)),
        ("none", "tensor_guide", (8,), 36 * (4 + 4 + 2 * 16 * 24 + 16 * 8 + 2 * 4 * 32)),
        ("none", "lora_fa", (8,), 442_368 // 2),
        ("qkv_depth", "vera", (256,), 36 * (256 + 768)),
        ("none", "lora_xs", (8, 8), 36 * 64),
        ("qkv_depth", "tera", (64, 64), 36 * 128),
        ("none", "quanta", (), 36 * (16**2 + 2 * 24**2 + 2 * 32**2 + 48**2)),
    ],
)
def test_known_counts(construction, decomposition, ranks, expected):
    spec = AdapterSpec.of(construction, decomposition, ranks, BASE)
    assert spec.n_params == expected
    assert sum(spec.factor_counts.values()) == expected


def test_caras_two_tensors_and_quantas_gates_count_as_in_their_code():
    """(9L, d, d) without `out`, which stays with the attention maps; (8, 8, 12) for 768."""
    names = ("query", "key", "value", "up", "down")
    whole = Geometry.attention(768, 12, 12, inner=3072, projections=names)
    expected = 16 * (36 + 768 + 12 + 64) + 16 * (8 * 12 + 2 * 768 + 1) + 2 * 16
    assert AdapterSpec.of("att_qkv_depth", "cara", 16, whole).n_params == expected
    spec = AdapterSpec.of("none", "quanta", (), BASE, options={"axes": 3})
    assert spec.n_params == 36 * 22_528


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_canonical_form_and_json(data, construction, decomposition, geometries, ranks_of):
    """The canonical form is its own and costs no more; JSON there and back, and every option with
    it.
    """
    geometry = data.draw(geometries)
    options = {
        "scale": data.draw(st.sampled_from(list(SCALES))),
        "alpha": data.draw(st.floats(0.1, 100)),
        "head_layout": data.draw(st.sampled_from(list(HEAD_LAYOUTS))),
    }
    ranks = ranks_of(data.draw, construction, decomposition, geometry)
    spec = AdapterSpec.of(construction, decomposition, ranks, geometry, **options)
    canonical = spec.canonical()
    assert canonical.canonical() == canonical
    assert canonical.n_params <= spec.n_params
    if not spec.networks[0].form.scaled:  # its scale decides nothing
        options |= {"scale": canonical.scale, "alpha": canonical.alpha}
    assert (canonical.scale, canonical.alpha, canonical.head_layout) == tuple(options.values())
    assert (
        AdapterSpec.of(
            canonical.construction, canonical.decomposition, canonical.ranks, geometry, **options
        )
        == canonical
    )
    again = AdapterSpec.of(construction, decomposition, ranks, geometry, **options)
    assert canonical.decomposition != decomposition or canonical == again
    for one in (
        spec,
        canonical,
        AdapterSpec.of(construction, decomposition, [ranks] * spec.n_copies, geometry),
    ):
        assert AdapterSpec.from_json(json.loads(json.dumps(one.to_json()))) == one
        assert one.canonical().n_params == canonical.n_params


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("none", "tensor_train", (3,)), ("none", "cp", (3,))),
        (("none", "tensor_ring", (3, 1)), ("none", "cp", (3,))),
        (("none", "tensor_ring", (2, 3)), ("none", "cp", (6,))),
        (("qkv_depth", "tensor_ring", (3, 2, 2, 1)), ("qkv_depth", "tensor_train", (3, 2, 2))),
        (("depth", "block_term", (3, 4, 2, 1)), ("depth", "tucker", (3, 4, 2))),
        (("none", "tucker2", (3, 3)), ("none", "tucker", (3, 3))),
    ],
)
def test_equal_adapters_are_equal(one, other):
    """Different words for the same factors have one canonical form."""
    first, second = (AdapterSpec.of(*words, GROUPED) for words in (one, other))
    assert first != second
    assert first.canonical() == second.canonical() == second
    assert hash(first.canonical()) == hash(second)
    assert first.method == second.method


def test_unlike_adapters_stay_apart():
    specs = {
        AdapterSpec.of(name, "tucker", (2,) * len(CONSTRUCTIONS[name].split()), BASE).canonical()
        for name in CONSTRUCTIONS
    } | {
        AdapterSpec.of("none", "cp", (rank,), BASE, scale=scale).canonical()
        for rank in (1, 2)
        for scale in SCALES
    }
    assert len(specs) == len(CONSTRUCTIONS) + 2 * len(SCALES)


def test_method_names():
    assert AdapterSpec.of("none", "cp", (8,), BASE).method == "LoRA"
    assert AdapterSpec.of("none", "tensor_train", (8,), BASE).method == "LoRA"
    assert AdapterSpec.of("depth", "tucker2", (8, 8), BASE).method == "LoTR"
    assert AdapterSpec.of("qkv_depth", "tucker", (8, 8, 3, 8), BASE).method == "TensLoRA qkv_depth"


def test_ranks_for_each_copy():
    geometry = Geometry.attention(hidden=8, heads=2, layers=3, projections=("query",))
    spec = AdapterSpec.of("none", "cp", ((1,), (2,), (3,)), geometry)
    assert spec.n_params == 16 * (1 + 2 + 3)
    assert AdapterSpec.of("none", "cp", ((2,),) * 3, geometry).canonical() == AdapterSpec.of(
        "none", "cp", (2,), geometry
    )
    assert "copies on this model; got ranks for 2" in refusal(
        lambda: AdapterSpec.of("none", "cp", ((1,), (2,)), geometry)
    )
    assert "above its cap 8" in refusal(
        lambda: AdapterSpec.of("none", "cp", ((1,), (2,), (9,)), geometry)
    )


def refusal(call) -> str:
    with pytest.raises(QuestionError) as error:
        call()
    assert isinstance(error.value, ValueError)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("arguments", "options", "parts"),
    [
        (
            ("qkv_dept", "tucker", (1, 1, 1, 1)),
            {},
            ["no construction named 'qkv_dept'", "Did you mean 'qkv_depth'?"],
        ),
        (
            ("qkv", "tuker", (1, 1, 1)),
            {},
            ["no decomposition named 'tuker'", "Did you mean 'tucker'?", "tensor_ring"],
        ),
        (("qkv", "cp", (1,)), {"scale": "match"}, ["no scale named 'match'", "'matched'"]),
        (("qkv", "cp", (1,)), {"head_layout": "interleave"}, ["no head layout", "'interleaved'"]),
        (
            ("qkv_depth", "tucker", (8, 8, 3)),
            {},
            ["bonds (r_input, r_output, r_projection, r_layer); got 3 ranks: (8, 8, 3)"],
        ),
        (("none", "cp", ()), {}, ["got 0 ranks"]),
        (("none", "cp", (0,)), {}, ["r of cp over none", "1 or more; got 0"]),
        (("none", "cp", (-1,)), {}, ["1 or more; got -1"]),
        (("none", "cp", (2.5,)), {}, ["got 2.5"]),
        (("none", "cp", (True,)), {}, ["got True"]),
        (("none", "cp", 2.5), {}, ["got 2.5"]),
        (("none", "cp", "8"), {}, ["1 or more; got '8'"]),
        (("none", "cp", None), {}, ["got None"]),
        (("qkv", "tucker", 8), {}, ["bonds (r_input, r_output, r_projection); got 1 rank: (8)"]),
        (("none", "cp", (769,)), {}, ["r of cp over none is 769, above its cap 768"]),
        (
            ("qkv", "tucker", (8, 8, 4)),
            {},
            ["r_projection of tucker over qkv is 4, above its cap 3"],
        ),
        (("qkv", "tucker", (25, 8, 3)), {}, ["r_input of tucker over qkv is 25, above its cap 24"]),
        (("none", "cp", (1,)), {"alpha": 0}, ["alpha is a positive number"]),
        (("none", "cp", (1,)), {"alpha": float("nan")}, ["alpha is a positive number"]),
    ],
)
def test_refused(arguments, options, parts):
    message = refusal(lambda: AdapterSpec.of(*arguments, BASE, **options))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("ranks", [8, [8], np.int64(8), np.array([8]), (np.int32(8),)])
def test_whole_numbers_of_any_kind_are_ranks(ranks):
    spec = AdapterSpec.of("none", "cp", ranks, BASE)
    assert spec == AdapterSpec.of("none", "cp", (8,), BASE)
    assert json.loads(json.dumps(spec.to_json()))["ranks"] == [8]
    copies = AdapterSpec.of("qkv", "cp", np.full((12, 1), 2), BASE)
    assert copies == AdapterSpec.of("qkv", "cp", [[2]] * 12, BASE)


def test_foreign_json():
    data = AdapterSpec.of("none", "cp", (1,), BASE).to_json()
    assert "alpha is missing or unknown" in refusal(
        lambda: AdapterSpec.from_json({k: v for k, v in data.items() if k != "alpha"})
    )
    assert "colour" in refusal(lambda: AdapterSpec.from_json({**data, "colour": 1}))
    assert "no geometry" in refusal(
        lambda: AdapterSpec.from_json({**data, "geometry": {"groups": [{}]}})
    )
    assert "no geometry" in refusal(lambda: AdapterSpec.from_json({**data, "geometry": {}}))


def test_a_group_takes_what_it_can_use():
    """Ranks that only the wider group can use are lowered in the other, and counted so."""
    spec = AdapterSpec.of("none", "cp", (10,), GROUPED)  # query 12 x 12, key and value 12 x 4
    assert spec.copy_ranks == (((10,),) * 4, ((4,),) * 8)
    assert spec.n_params == 4 * 10 * 24 + 8 * 4 * 16


def test_one_entry_is_enough():
    """Every decomposition is counted over every construction from what it trains alone, on any
    group.
    """
    group = Group(("query", "key"), 6, 2, 3, 4)
    for name in CONSTRUCTIONS:
        for decomposition in DECOMPOSITIONS:
            geometry = Geometry((group,))
            structure = Structure.of(name, decomposition, geometry)
            nets = structure.networks
            trained = nets[0].form.counted
            sizes = [math.prod(axis.size or 1 for axis in factor.axes) for factor in trained]
            assert structure.smallest == nets[0].copies * sum(sizes)
