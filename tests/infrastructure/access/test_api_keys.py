"""API keys: their form, their checksum, and what is stored of them."""

import re
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.access.api_keys import DIGITS, PATTERN, digest, id_of, new_key

KEYS = [new_key() for _ in range(50)]


def test_a_key_has_the_form_that_scanners_look_for() -> None:
    for key in KEYS:
        assert re.fullmatch(r"shiplock_[0-9A-Za-z]{10}_[0-9A-Za-z]{49}", key.text)
        assert re.fullmatch(PATTERN, key.text)
        assert len(key.text) == 69
        assert id_of(key.text) == key.key_id == key.text[9:19]


def test_no_two_keys_are_alike() -> None:
    assert len({key.text for key in KEYS}) == len({key.key_id for key in KEYS}) == len(KEYS)
    assert set("".join(key.text[20:63] for key in KEYS)) == set(DIGITS)


def test_only_the_hash_of_the_whole_key_is_stored_and_a_key_is_not_shown_by_chance() -> None:
    for key in KEYS:
        assert key.digest == digest(key.text) == sha256(key.text.encode()).hexdigest()
        assert key.text not in repr(key)
        assert key.key_id in repr(key)


@given(st.sampled_from(KEYS), st.integers(0, 68), st.sampled_from(DIGITS + "_-. "))
def test_a_key_that_was_copied_wrongly_is_none(key: object, place: int, other: str) -> None:
    text = key.text  # type: ignore[attr-defined]
    wrong = text[:place] + other + text[place + 1 :]
    assert (id_of(wrong) is None) == (wrong != text)


@given(st.text(max_size=80))
def test_any_other_text_is_no_key(text: str) -> None:
    assert id_of(text) is None


def test_a_part_of_a_key_and_more_than_a_key_are_none() -> None:
    text = KEYS[0].text
    for wrong in (
        text[:-1],
        text + "0",
        f" {text}",
        f"{text}\n",
        text.upper(),
        text.replace("shiplock", "shipl0ck"),
    ):
        assert id_of(wrong) is None
