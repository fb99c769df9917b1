"""Rows become tensors: as the tokenizer says, from the cache the second time, and rows that cannot
be read are named.
"""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from tenslora_search.data import encode as module
from tenslora_search.data.columns import Columns
from tenslora_search.data.encode import encode
from tenslora_search.data.processors import load_processor
from tenslora_search.data.rows import Rows
from tenslora_search.data.sources import Source
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.table import QuestionError

TEXTS = ["good film", "the plot was not very good and the ending was awful", "", "bad"]


def rows(*columns: list, kind: str = "text", folder=None) -> Rows:
    names = tuple(f"column {place}" for place in range(len(columns)))
    source = Source("mine", {}, {}, folder)
    return Rows.of(
        pd.DataFrame(dict(zip(names, columns, strict=True))),
        Columns(kind, names, "label"),
        source,
        "train",
    )


@pytest.fixture
def tokenizer(tiny_bert):
    return load_processor(tiny_bert)


@pytest.mark.parametrize("max_length", [64, 5])
def test_texts_and_pairs_are_as_the_tokenizer_pads_them(
    tokenizer, tmp_path, monkeypatch, max_length
):
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 3)
    for columns in ([TEXTS], [TEXTS, TEXTS[::-1]]):
        inputs, lengths = encode(rows(*columns), tokenizer, max_length=max_length, cache=tmp_path)
        expected = tokenizer(
            *columns, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
        )
        assert inputs.keys() == expected.keys()
        assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
        assert torch.equal(lengths, expected["attention_mask"].sum(1))


def test_an_empty_text_is_one_pad_token_for_a_decoder(tiny_gpt, tmp_path):
    decoder = load_processor(tiny_gpt)
    inputs, lengths = encode(rows(["", "good film"]), decoder, max_length=8, cache=tmp_path)
    assert lengths.tolist() == [1, 2]
    assert inputs["input_ids"][0, 0] == decoder.pad_token_id
    assert inputs["attention_mask"].tolist() == [[1, 0], [1, 1]]


def test_the_second_time_comes_from_the_cache(tokenizer, tmp_path, monkeypatch):
    first, _ = encode(rows(TEXTS), tokenizer, max_length=8, cache=tmp_path)
    monkeypatch.setattr(module, "_tokenised", lambda *_: pytest.fail("made again"))
    again, _ = encode(rows(TEXTS), tokenizer, max_length=8, cache=tmp_path)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_whatever_decides_the_tokens_is_in_the_key(tokenizer, tiny_gpt, tmp_path):
    other = load_processor(tiny_gpt)
    asked = [
        (TEXTS, tokenizer, 8),
        (TEXTS, tokenizer, 9),
        (TEXTS[::-1], tokenizer, 8),
        (TEXTS, other, 8),
    ]
    for texts, processor, length in asked + asked:
        encode(rows(texts), processor, max_length=length, cache=tmp_path)
    encode(rows(["a", "bc"]), tokenizer, max_length=8, cache=tmp_path)
    encode(rows(["ab", "c"]), tokenizer, max_length=8, cache=tmp_path)
    assert len(list((tmp_path / "encoded").iterdir())) == len(asked) + 2


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_tokenizer_s_options_and_files_are_in_the_key(is_fast, tokenizer, tmp_path):
    """The vocabulary alone says neither how text is split nor in which order pieces are joined."""
    from transformers import PhobertTokenizer

    def digest(merges: str) -> str:
        (tmp_path / "bpe.codes").write_text(f"{merges}</w> 1\n")
        (tmp_path / "vocab.txt").write_text("go 1\ng@@ 1\no 1\n")
        made = PhobertTokenizer(str(tmp_path / "vocab.txt"), str(tmp_path / "bpe.codes"))
        return module.tokenizer_digest(made)

    if is_fast:
        before, other = module.tokenizer_digest(tokenizer), copy.deepcopy(tokenizer)
        other.init_kwargs["split_special_tokens"] = True
        assert module.tokenizer_digest(other) != before == module.tokenizer_digest(tokenizer)
    else:
        assert digest("g o") == digest("g o") != digest("x y")


def test_token_types_are_in_the_key(tokenizer, tmp_path):
    without = copy.deepcopy(tokenizer)
    without.model_input_names = ["input_ids", "attention_mask"]
    for processor in (without, tokenizer, without):
        inputs, _ = encode(rows(TEXTS, TEXTS), processor, max_length=8, cache=tmp_path)
        assert ("token_type_ids" in inputs) == (processor is tokenizer)


@pytest.mark.parametrize(("columns", "least"), [([TEXTS], 3), ([TEXTS, TEXTS], 4)])
def test_texts_need_room_beside_the_special_tokens(tokenizer, tmp_path, columns, least):
    for max_length in range(1, least):
        with pytest.raises(
            QuestionError,
            match=f"--max-length {max_length} leaves no room .* the least that works is {least}",
        ):
            encode(rows(*columns), tokenizer, max_length=max_length, cache=tmp_path)
    assert encode(rows(*columns), tokenizer, max_length=least, cache=tmp_path)[0][
        "input_ids"
    ].shape == (4, least)


def test_a_damaged_cache_is_made_anew(tokenizer, tmp_path):
    first, _ = encode(rows(TEXTS), tokenizer, max_length=8, cache=tmp_path)
    (file,) = (tmp_path / "encoded").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    again, _ = encode(rows(TEXTS), tokenizer, max_length=8, cache=tmp_path)
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert file.read_bytes() == whole


def png(shade: int) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (6, 6), shade).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_as_bytes_structs_and_paths(tmp_path):
    for shade in (0, 200):
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    forms = (
        [png(0), png(200)],
        [{"bytes": png(0), "path": None}, {"bytes": None, "path": "200.png"}],
        ["0.png", "200.png"],
    )
    for cells in forms:
        inputs, lengths = encode(
            rows(cells, kind="image", folder=tmp_path),
            ImageProcessor(4, 4),
            max_length=8,
            cache=tmp_path / "cache",
        )
        assert inputs["pixel_values"].dtype == torch.uint8
        assert inputs["pixel_values"].amax((1, 2, 3)).tolist() == [0, 200]
        assert lengths.tolist() == [1, 1]
    assert (
        len(list((tmp_path / "cache" / "encoded").iterdir())) == 1
    )  # the same images are the same rows


@pytest.mark.parametrize(
    ("cells", "kind", "message"),
    [
        (["", None], "text", "no row of train of mine has text in column 'column 0'"),
        (["a", 5], "text", "row 2 of train of mine has no text in column 'column 0': 5"),
        (
            [b"", None],
            "image",
            "row 2 of train of mine has neither image bytes nor the path of an image file",
        ),
        (
            ["nowhere.png"],
            "image",
            "row 1 of train of mine names an image that cannot be read: .*nowhere.png",
        ),
    ],
)
def test_cells_that_cannot_be_read(cells, kind, message, tmp_path):
    with pytest.raises(QuestionError, match=message):
        rows(cells, kind=kind, folder=tmp_path)


def test_errors_name_the_row_of_the_file():
    wrong = rows([png(1), png(2), b"no image"], kind="image").take(np.array([2]))
    with pytest.raises(QuestionError, match="row 3 of train of mine holds no image"):
        encode(wrong, ImageProcessor(4, 4), max_length=8, cache=None)


def test_rows_by_what_they_hold():
    some, others = rows(["a", "b", "a", "c"], ["x", "x", "x", "y"]), rows(["b", "c"], ["x", "x"])
    assert some.groups().tolist() == [0, 1, 0, 2]
    assert some.unlike(others).tolist() == [0, 2, 3]
    assert some.take(np.array([0, 3])).columns == (["a", "c"], ["x", "y"])
    assert some.digest == some.take(np.arange(4)).digest != some.take(np.array([1, 0, 2, 3])).digest


def test_a_column_that_another_split_lacks():
    source = Source("mine", {})
    with pytest.raises(QuestionError, match="no column 'text' in test of mine; it has: label"):
        Rows.of(pd.DataFrame({"label": [1]}), Columns("text", ("text",), "label"), source, "test")
