"""Rows that are nearly the same have one number; others have their own."""

import io

import numpy as np
import pytest
from PIL import Image

from tenslora_search.data.near import in_order, near_groups, share_of_grams_in

LONG = "the old clock in the hall has not moved since the day that we left for the coast"


def groups(*columns):
    return near_groups(columns, in_order(zip(*columns, strict=True))).tolist()


def test_texts_that_share_half_of_their_word_4_grams_are_one_group():
    part = "in the hall has not moved since"
    again = LONG.title().replace("Coast", "Sea") + "!"
    texts = [LONG, "nothing like the others at all", part, again, "a clock", "a clock in a hall"]
    assert groups(texts) == [0, 1, 0, 0, 2, 3]
    assert groups([LONG, LONG, "short", "Short"]) == [0, 0, 1, 2]


def test_of_pairs_the_longer_texts_count():
    premises = [LONG, "it rained for three days and then the river took the bridge away", LONG]
    assert groups(premises, ["yes it is", "yes it is", "no"]) == [0, 1, 0]


def test_chains_of_likenesses_do_not_join_everything():
    words = [f"w{k}" for k in range(400)]
    texts = [" ".join(words[k : k + 12]) for k in range(300)]  # each shares most with the next
    sizes = np.bincount(groups(texts))
    assert 1 < sizes.max() <= 20


def test_a_template_that_all_of_few_rows_have_makes_none_of_them_near():
    template = "you are a helpful clerk who answers in one line and says what the bill was for"
    asked = [f"{template} number {k} of spring" for k in range(20)]
    assert groups(asked) == list(range(20))
    assert groups([*asked, f"{LONG} first", f"{LONG} second"])[-2:] == [20, 20]


def test_the_share_of_grams_that_others_have():
    shares = share_of_grams_in(["a b c d e", "x y z w", "too short"], ["q a b c d", "b c d f"])
    assert shares[:2].tolist() == [0.5, 0.0]
    assert np.isnan(shares[2])


def image(seed: int, quality: int | None) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (3, 3, 3), dtype=np.uint8)
    picture, file = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC), io.BytesIO()
    if quality is None:
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_a_picture_saved_twice_is_one_group_and_what_cannot_be_read_its_own():
    images = [image(0, None), image(1, None), image(0, 90), b"garbage", b"more"]
    assert groups(images) == [0, 1, 0, 2, 3]


@pytest.mark.parametrize("columns", [[["one"]], [["", ""]], [["a b c d", "a b c d e"]]])
def test_few_and_empty_rows(columns):
    assert groups(*columns)[0] == 0
