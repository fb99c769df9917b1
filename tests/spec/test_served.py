"""What adapters are served as, against sums by hand."""

import pytest

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.served import SERVER_RANKS, Served, served, server_rank
from tenslora_search.spec.table import QuestionError

SMALL = Geometry.attention(64, 4, 3)


def test_lora_is_served_as_it_is():
    spec = AdapterSpec.of("none", "cp", (5,), SMALL)
    assert served(spec) == (5, spec.n_params, spec.n_params) == (5, 9 * 5 * 128, 9 * 5 * 128)


def test_tensors_by_hand():
    # Tucker over all 9 maps: at every site a pair of rank 4, whatever the other ranks.
    spec = AdapterSpec.of("qkv_depth", "tucker", (4, 4, 2, 3), SMALL)
    assert served(spec) == (4, 9 * 4 * 128, 9 * 4 * 128)
    # Grouped-query attention: two groups of maps, of widths 64 and 32.
    grouped = AdapterSpec.of("none", "cp", (2,), Geometry.attention(64, 4, 3, kv_heads=2))
    assert served(grouped).extra_macs == 3 * 2 * (64 + 64) + 6 * 2 * (64 + 32)
    # Ranks a copy.
    own = AdapterSpec.of("none", "cp", [(1,)] * 8 + [(5,)], SMALL)
    assert served(own)[:2] == (5, (8 * 1 + 5) * (64 + 64))


def test_no_map_has_a_rank_beyond_its_smaller_side():
    """LoRTA of rank 300 over maps of 64 x 64."""
    spec = AdapterSpec.of("att_qkv_depth", "cp", (300,), SMALL)
    assert served(spec) == (64, 9 * 64 * 128, 9 * 64 * 128)
    assert served(spec).bytes == 4 * 9 * 64 * 128


def test_a_dense_update_is_no_lora():
    spec = AdapterSpec.of("none", "cp", (2,), SMALL, after="sinter")
    assert served(spec) == Served(None, None, 9 * 64 * 64)
    assert served(spec).bytes is None


def test_ranks_that_servers_take():
    assert [server_rank(rank) for rank in (1, 8, 9, 257, 512)] == [8, 8, 16, 320, 512]
    assert list(SERVER_RANKS) == sorted(SERVER_RANKS)
    with pytest.raises(QuestionError, match=r"rank 513; servers take 512 at most. --rank 512"):
        server_rank(513)
