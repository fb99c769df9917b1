"""Parameter counts and time limits as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenslora_search.spec.budget import format_count, parse_count, parse_seconds
from tenslora_search.spec.table import QuestionError


@pytest.mark.parametrize(
    "text", ["300k", "300K", "300_000", "300,000", "300000", " 0.3M ", ".3m", 300_000]
)
def test_readings_of_300_000(text):
    assert parse_count(text) == 300_000


@pytest.mark.parametrize(
    ("text", "count"), [("1.2M", 1_200_000), ("2b", 2_000_000_000), ("1.001k", 1001), ("1", 1)]
)
def test_suffixes(text, count):
    assert parse_count(text) == count


@given(st.integers(1, 10**12))
def test_format_and_back(count):
    assert parse_count(format_count(count)) == count


@pytest.mark.parametrize(
    "text", ["", "k", "-3k", "0", "0.5", "1.5", "300 kilo", "1e5", "nan", "3kk", "1.2.3M", "½"]
)
def test_refused(text):
    with pytest.raises(
        QuestionError, match="is not a parameter count of 1 or more; write 300000, 300k or"
    ):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("1h30m", 5400)]
)
def test_time_limits(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "2 hours", "m", "1d"])
def test_no_time_limits(text):
    with pytest.raises(QuestionError, match="is no time limit"):
        parse_seconds(text)
