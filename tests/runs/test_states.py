"""States: which files are whole, and which are taken away."""

import pytest

from tenslora_search.runs.events import Cut, Failed, Proposed, Retest, Rung
from tenslora_search.runs.replay import replay
from tenslora_search.runs.states import clear, is_whole
from tenslora_search.spec.table import QuestionError


def whole(path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    return path


def test_a_whole_file(tmp_path):
    assert is_whole(whole(tmp_path / "a"))


@pytest.mark.parametrize("cut", [1, 4, 5, 30, 60])
def test_a_file_cut_short(tmp_path, cut):
    path = whole(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-cut])
    assert not is_whole(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\xff" * 99,
        b"\0" * 99,
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x04" + b"\0" * 7 + b"null",
    ],
)
def test_garbage(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_whole(tmp_path / "a")
    assert not is_whole(tmp_path / "none")


def test_what_no_trial_needs_goes_and_what_others_put_there_stays(tmp_path):
    def proposed(number):
        return Proposed(number, {}, {}, 1, "", "", "", (1,))

    records = replay(
        [
            proposed(0), Rung(0, 3, 0.5, state="states/0-3.safetensors"),
            Retest(0, 1, 0.5, state="states/retest-0-1.safetensors"),
            proposed(1), Rung(1, 3, 0.5, state="states/1-3.safetensors"),
            Cut(1, 5, "states/1-5.safetensors"),
            proposed(2), Rung(2, 3, 0.5, state="states/2-3.safetensors"), Failed(2, 9, "why"),
        ]
    )  # fmt: skip
    states, adapters = tmp_path / "states", tmp_path / "adapters"
    needed = ["0-3", "retest-0-1", "1-3", "1-5"]
    for folder in (states, adapters / ".3.part", adapters / "3", tmp_path / ".segment-a"):
        folder.mkdir(parents=True)
    for name in [*needed, "0-1", "2-3", "retest-9-9", "mine"]:
        (states / f"{name}.safetensors").touch()
    clear(tmp_path, records.values())
    assert {path.stem for path in states.iterdir()} == {*needed, "mine"}
    assert [path.name for path in adapters.iterdir()] == ["3"]
    assert not (tmp_path / ".segment-a").exists()


def test_nothing_is_taken_away_outside(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "0-1.safetensors").touch()
    (folder / "states").symlink_to(outside)
    with pytest.raises(QuestionError, match="leads out"):
        clear(folder, [])
    assert (outside / "0-1.safetensors").exists()
