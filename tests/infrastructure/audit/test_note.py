"""Signed notes and checkpoints are byte for byte as C2SP specifies them."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.audit import checkpoint, note
from infrastructure.audit.checkpoint import Checkpoint
from infrastructure.audit.merkle import EMPTY
from infrastructure.audit.note import BadNote, VerifierKey

# The example of the Go package golang.org/x/mod/sumdb/note.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
QUOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ANOTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAME = "shiplock-1f2e3d4c/100000001"
PUBLIC = VerifierKey.of(NAME, KEY)


def test_a_note_of_another_program_opens() -> None:
    key = VerifierKey.parse(NEUMANN)
    assert str(key) == NEUMANN
    text, signer = note.opened(QUOTE, [PUBLIC, key])
    assert text == QUOTE.split("\n\n")[0] + "\n"
    assert signer == key


def test_a_checkpoint_has_the_specified_text_and_signature() -> None:
    signed = note.sign(Checkpoint(NAME, 0, EMPTY).text(), NAME, KEY)
    *text, empty, signature, end = signed.split("\n")
    assert text == [NAME, "0", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
    assert (empty, end) == ("", "")
    dash, name, encoded = signature.split(" ")
    assert (dash, name) == ("\u2014", NAME)
    raw = base64.b64decode(encoded)
    assert (raw[:4], len(raw)) == (PUBLIC.key_id, 4 + 64)
    KEY.public_key().verify(raw[4:], "\n".join([*text, ""]).encode())
    assert checkpoint.opened(signed, [PUBLIC]) == (Checkpoint(NAME, 0, EMPTY), signed, PUBLIC)


def test_signatures_of_unknown_keys_are_ignored_and_wrong_ones_of_known_keys_are_refused() -> None:
    signed = note.sign("text\n", NAME, KEY)
    stranger = note.sign("text\n", "someone.example", ANOTHER).splitlines()[-1]
    both = signed + stranger + "\n"
    assert note.opened(both, [PUBLIC]) == ("text\n", PUBLIC)
    assert note.opened(both, [VerifierKey.of("someone.example", ANOTHER)])[1].name == "someone.example"
    with pytest.raises(BadNote, match="no key that is known"):
        note.opened(signed, [VerifierKey.of(NAME, ANOTHER), VerifierKey.of("else", KEY)])
    with pytest.raises(BadNote, match="is wrong"):
        note.opened(both.replace("text", "test"), [PUBLIC])


@given(st.data())
def test_a_note_with_a_changed_byte_does_not_open(data: st.DataObject) -> None:
    signed = note.sign(Checkpoint(NAME, 12, EMPTY).text(), NAME, KEY).encode()
    index = data.draw(st.integers(0, len(signed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != signed[index]))
    changed = signed[:index] + bytes([byte]) + signed[index + 1 :]
    try:
        text = changed.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(BadNote):
        checkpoint.opened(text, [PUBLIC])


@pytest.mark.parametrize(
    "text",
    [
        f"{NAME}\n01\n{base64.b64encode(EMPTY).decode()}\n",
        f"{NAME}\n-1\n{base64.b64encode(EMPTY).decode()}\n",
        f"{NAME}\n1\n{base64.b64encode(EMPTY[1:]).decode()}\n",
        f"{NAME}\n1\n{base64.b64encode(EMPTY).decode()[:-2]}V=\n",
        f"{NAME}\n1\n{base64.b64encode(EMPTY).decode()}\nextension\n",
        f"\n1\n{base64.b64encode(EMPTY).decode()}\n",
        f"{NAME}\n1\n",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused_even_when_signed(text: str) -> None:
    with pytest.raises(BadNote):
        checkpoint.opened(note.sign(text, NAME, KEY), [PUBLIC])


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(BadNote, match="signed by"):
        checkpoint.opened(note.sign(Checkpoint("elsewhere", 0, EMPTY).text(), NAME, KEY), [PUBLIC])


@pytest.mark.parametrize(
    "text",
    ["", "name", NEUMANN[:-1], NEUMANN.replace("c74f", "c74e"), NEUMANN.replace("Peter", "P "), "a+b+AQ=="],
)
def test_a_text_that_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        VerifierKey.parse(text)


@pytest.mark.parametrize("text", ["no newline", "a tab\t\n", ""])
def test_a_text_that_no_note_can_have_is_not_signed(text: str) -> None:
    with pytest.raises(BadNote):
        note.sign(text, NAME, KEY)
