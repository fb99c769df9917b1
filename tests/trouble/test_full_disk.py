"""A disk that is full: one line that names the file; with room again the same command goes on."""

import resource
from contextlib import contextmanager

import pytest

from tenslora_search.hub.digits_vit import digits_backbone

from .conftest import SMALL, scores


@pytest.fixture
def limited():
    """limited(n): while it lasts this process's files may grow to n bytes only, which fails a write
    as a full disk does.
    """
    digits_backbone()  # the cache may hold larger ones
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def until(largest: int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return until


@pytest.mark.parametrize("largest", [3_000, 12_000], ids=["the journal", "the states"])
def test_a_write_that_fails(here, limited, tmp_path, largest):
    asked = [*SMALL, "--executor", "inline", "--out", str(tmp_path / "run")]
    with limited(largest):
        code, _, err = here(*asked)
    assert code == 2
    assert err.startswith("tenslora-search: cannot write")
    assert err.count("\n") == 1
    assert str(tmp_path / "run") in err
    assert here(*asked)[0] == 0
    assert {number for number, _ in scores(tmp_path / "run")} == set(range(6))
    assert not list((tmp_path / "run").glob(".segment-*"))
