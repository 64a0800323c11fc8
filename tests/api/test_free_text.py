"""No mobile and no identity-card number gets into a log that is kept for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.free_text import personal_number
from tests.api.conftest import SHOP, Api

MOBILE, CARD = "13800138000", "11010519491231002X"


@pytest.mark.parametrize(
    "text",
    [
        MOBILE,
        f"call {MOBILE} please",
        f"电话{MOBILE}。",
        "+86 138 0013 8000",
        "86-138-0013-8000",
        CARD,
        CARD.lower(),
        f"身份证{CARD}，已核对",
    ],
)
def test_a_personal_number_is_found(text: str) -> None:
    assert personal_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "requested by phone",
        "180831-481803633911509",
        "SF13800138000",
        "YT8800000000001",
        "23800138000",
        "12800138000",
        "138001380001",
        "110105194912310021",
        "110105194913310022",
        "2026-03-02 09:00:00",
        "77138001380009",
    ],
)
def test_a_number_of_an_order_or_a_parcel_is_none(text: str) -> None:
    assert personal_number(text) is None


@given(st.text(), st.text(), st.sampled_from([MOBILE, CARD]))
def test_it_is_found_in_any_text(before: str, after: str, number: str) -> None:
    assert personal_number(f"{before} {number} {after}")


def test_such_a_command_is_refused_and_its_text_not_repeated(api: Api) -> None:
    api.formed("260302-1")
    message = f"dear buyer, {MOBILE}"
    refused = api.do("260302-1", "contact-buyer", channel="chat", message=message)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "#/message"
    assert MOBILE not in refused.text
    entries = [
        {"order_sn": "260302-1", "action": "contact-buyer", "channel": "chat", "message": message},
        {"order_sn": "260302-1", "action": "contact-buyer", "channel": "chat", "message": "sorry", "note": CARD},
        {"order_sn": "260302-1", "action": "contact-buyer", "channel": "chat", "message": "sorry"},
    ]
    outcomes = api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": entries}).json()["outcomes"]
    assert [each["status"] for each in outcomes] == [422, 422, 200]
    assert outcomes[1]["problem"]["errors"][0]["pointer"] == "#/commands/1/note"
