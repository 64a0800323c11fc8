"""Rule sets that make no sense: refused with their field and with what would be right."""

import tomllib
from typing import Any

import msgspec
import pytest

from domain.rules.reading import InvalidRuleSet
from domain.rules.ruleset import RuleBook, RuleSet
from tests.domain.vocabulary import MONDAY_8, MONDAY_9, RULES, RULES_2023

EFFECTIVE = "effective_from = 2023-01-01T00:00:00+08:00"
SHIP_BY = "hours = { ordinary = 48, direct_mail = 120, bonded = 168 }"
LATE = "steps = [{ paid_from_fen = 0, flat_fen = 300 }]"
FESTIVAL = "ship_before = 2023-02-01T23:59:59+08:00"
WHOLE = "it must be a whole number from 1 to 10000"
MOMENT = "it must be a date and time with offset, such as 2023-01-01T00:00:00+08:00"
TEXT = "it must be text of 1 to 500 characters in one line"
NAME = "it must be small letters, digits, dots and dashes, at most 64, such as pinduoduo-2023-01"
GOODS = "there are ordinary, presale, direct_mail, bonded, virtual"


def edited(old: str, new: str) -> str:
    """The shipped set with its first ``old`` as ``new``."""
    assert old in RULES_2023
    return RULES_2023.replace(old, new, 1)


def late(steps: str) -> str:
    return edited(LATE, f"steps = {steps}")


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (edited('name = "pinduoduo-2023-01"', 'name = "Not A Name"'), f"name is 'Not A Name'; {NAME}"),
        (edited('name = "pinduoduo-2023-01"', 'name = "trailing\\n"'), f"name is 'trailing\\n'; {NAME}"),
        (edited('name = "pinduoduo-2023-01"', f'name = "{"x" * 99}"'), f"name is '{'x' * 59}…; {NAME}"),
        (edited(EFFECTIVE, ""), f"effective_from is missing; {MOMENT}"),
        (edited(EFFECTIVE, 'effective_from = "soon"'), f"effective_from is 'soon'; {MOMENT}"),
        (
            edited(EFFECTIVE, "effective_from = 2023-01-01T00:00:00"),
            f"effective_from is 2023-01-01 00:00:00; {MOMENT}",
        ),
        (edited(EFFECTIVE, "effective_from = 2023-01-01"), f"effective_from is 2023-01-01; {MOMENT}"),
        (
            edited(EFFECTIVE, "effective_from = 1999-01-01T00:00:00Z"),
            "effective_from must be between 2015 and 2100",
        ),
        (edited(SHIP_BY, "hours = { livestock = 3 }"), f"there is no field ship_by.hours.livestock; {GOODS}"),
        (edited(SHIP_BY, "hours = { ordinary = 0 }"), f"ship_by.hours.ordinary is 0; {WHOLE}"),
        (edited(SHIP_BY, "hours = { ordinary = 48.5 }"), f"ship_by.hours.ordinary is 48.5; {WHOLE}"),
        (
            edited(SHIP_BY, "hours = { direct_mail = 120 }"),
            "ship_by: ordinary goods need hours; the platform's are 48",
        ),
        (edited(SHIP_BY, "hours = 48"), "ship_by.hours is 48; it must be a table of ordinary, presale,"),
        (edited("\ndays = 3", "\ndays = -3"), f"deemed_stockout.days is -3; {WHOLE}"),
        (edited("\ndays = 3", "\ndays = 10001"), f"deemed_stockout.days is 10001; {WHOLE}"),
        (edited("\ndays = 3", '\ndays = "three"'), f"deemed_stockout.days is 'three'; {WHOLE}"),
        (edited("\ndays = 3", ""), f"deemed_stockout.days is missing; {WHOLE}"),
        (
            edited("\ndays = 3", "\ndays = 3\nday = 3"),
            "there is no field deemed_stockout.day; there are days, counted, source, confidence",
        ),
        (
            edited('counted = "as_hours"', 'counted = "loosely"'),
            'deemed_stockout.counted is \'loosely\'; it must be "as_dates" or "as_hours"',
        ),
        (
            edited("earliest_working_days = 2", "earliest_working_days = 4"),
            "review: earliest_working_days is after latest_working_days; it must be at most that",
        ),
        (
            edited("pauses_ship_by = false", 'pauses_ship_by = "no"'),
            "review.pauses_ship_by is 'no'; it must be true or false",
        ),
        (
            edited('ship_by_after_rejection = "runs_on"', 'ship_by_after_rejection = "starts_anew"'),
            "review: a ship-by that starts_anew after a rejection stands still before; say pauses_ship_by",
        ),
        *(
            (
                edited("counts_filing_day = false", f"counts_filing_day = false\nfiling_day_ends_at = {hour}"),
                f"review.filing_day_ends_at is {hour}; it must be an hour of the day from 1 to 23",
            )
            for hour in (0, 24)
        ),
        (
            edited("counts_filing_day = false", "counts_filing_day = 0"),
            "review.counts_filing_day is 0; it must be true or false",
        ),
        (
            edited('deemed_after_rejection = "at_rejection"', 'deemed_after_rejection = "x"'),
            'review.deemed_after_rejection is \'x\'; it must be "at_due_time" or "at_rejection"',
        ),
        (edited("daily_limit = 10", "daily_limit = 0"), f"application.daily_limit is 0; {WHOLE}"),
        (
            edited('conditions = "warn"', 'conditions = "shrug"'),
            'application.conditions is \'shrug\'; it must be "refuse" or "warn"',
        ),
        (
            edited("hours = 0", "hours = -1"),
            "delisting.hours is -1; it must be a whole number from 0 to 10000",
        ),
        (edited("\ndays = 7", "\ndays = 0"), f"appeal.days is 0; {WHOLE}"),
        (edited("reuse_days = 30", "reuse_days = 0"), f"tracking.reuse_days is 0; {WHOLE}"),
        (
            edited("frequent_replacements = 3", "frequent_replacements = true"),
            f"tracking.frequent_replacements is True; {WHOLE}",
        ),
        (edited('source = "delist-at-once"', 'source = ""'), f"delisting.source is ''; {TEXT}"),
        (
            edited('source = "delist-at-once"', 'source = "at\\u0000once"'),
            f"delisting.source is 'at\\x00once'; {TEXT}",
        ),
        (edited('title = "Pin', 'title = "\\u001b[2JPin'), "title is '\\x1b[2JPinduoduo shipping rules"),
        (
            edited('confidence = "A"', 'confidence = "sure"'),
            "delisting.confidence is 'sure'; it must be A, B, C or house,",
        ),
        (late("[]"), "penalty.late_shipment.steps is an empty list; it must be a list of steps, at least one"),
        (
            late("[{ paid_from_fen = 100, flat_fen = 300 }]"),
            "penalty.late_shipment: penalty steps begin at paid_from_fen 0 and rise",
        ),
        (
            late("[{ paid_from_fen = 0, flat_fen = 1 }, { paid_from_fen = 0, flat_fen = 2 }]"),
            "penalty.late_shipment: penalty steps begin at paid_from_fen 0 and rise",
        ),
        (
            late("[{ paid_from_fen = 0 }]"),
            "penalty.late_shipment.steps[0]: a penalty step has either flat_fen or percent",
        ),
        (
            late("[{ paid_from_fen = 0, flat_fen = 1, percent = 2 }]"),
            "penalty.late_shipment.steps[0]: a penalty step has either flat_fen or percent",
        ),
        (
            late("[{ paid_from_fen = 0, flat_fen = 1, cap_fen = 2 }]"),
            "penalty.late_shipment.steps[0]: cap_fen limits a percent; a flat_fen needs none",
        ),
        (
            late("[{ paid_from_fen = 0, flat_fen = 1 }, { paid_from_fen = 9, flat_fen = -1 }]"),
            "penalty.late_shipment.steps[1].flat_fen is -1; it must be a whole number of fen, 0 or more",
        ),
        (
            late("[{ paid_from_fen = 0, percent = 0 }]"),
            "penalty.late_shipment.steps[0].percent is 0; it must be a whole number from 1 to 1000",
        ),
        (
            late("[{ paid_from_fen = 0, percent = 5, round_to_fen = 0 }]"),
            f"penalty.late_shipment.steps[0].round_to_fen is 0; {WHOLE}",
        ),
        (
            edited("[penalty.stockout]", "[penalty.oversleeping]"),
            "there is no field penalty.oversleeping; "
            "there are late_shipment, stockout, false_shipment, fraudulent_shipment",
        ),
        (
            RULES_2023[: RULES_2023.index("[penalty.fraudulent_shipment]")],
            "penalty.fraudulent_shipment is missing; it must be a table of steps, source, confidence",
        ),
        (
            edited("formed_before = 2023-01-31T00:00:00+08:00", "formed_before = 2023-01-13T00:00:00+08:00"),
            "periods[0]: formed_from must be before formed_before, and both between 2015 and 2100",
        ),
        (
            edited(FESTIVAL, "ship_before = 2023-01-20T00:00:00+08:00"),
            "periods[0]: ship_before must not be before formed_before, when groups may still form",
        ),
        (
            edited(FESTIVAL, f"{FESTIVAL}\nship_by_hours = {{ ordinary = 72 }}"),
            "periods[0]: a period has either ship_by_hours or ship_before",
        ),
        (
            edited(f"{FESTIVAL}\npickup_hours = {{ ordinary = 72, bonded = 72 }}", ""),
            "periods[0]: a period says ship_by_hours, ship_before, pickup_hours or suspends",
        ),
        (
            edited(FESTIVAL, 'suspends = ["lateness"]'),
            "periods[0].suspends[0] is 'lateness'; "
            'it must be "false_shipment" or "fraudulent_shipment" or "late_shipment" or "stockout"',
        ),
        (
            edited('goods_types = ["ordinary", "bonded"]', "goods_types = []"),
            "periods[0].goods_types is an empty list; "
            "it must be a list of ordinary, presale, direct_mail, bonded, virtual",
        ),
        (
            edited('goods_types = ["ordinary", "bonded"]', 'goods_types = ["ordinary"]'),
            "periods[0]: pickup_hours says hours for bonded, which is none of its goods_types",
        ),
        (
            edited(FESTIVAL, "ship_by_hours = { direct_mail = 72 }"),
            "periods[0]: ship_by_hours says hours for direct_mail, which is none of its goods_types",
        ),
        (
            edited(FESTIVAL, "ship_by_hours = {}"),
            "periods[0]: ship_by_hours names no goods; leave it out, or say hours for some",
        ),
        (
            edited(FESTIVAL, "regions = []"),
            "periods[0].regions is an empty list; it must be a list of 1 to 100 names of regions",
        ),
        (
            edited('name = "Spring Festival 2023, direct mail"', 'name = "Spring Festival 2023"'),
            "two periods are called 'Spring Festival 2023'; each needs a name of its own",
        ),
        ("", "name is missing"),
        ("hours = { ordinary =", "not valid TOML: Invalid value (at end of document)"),
        ("days = 3\ndays = 4", "not valid TOML: Cannot overwrite a value"),
    ],
)
def test_nonsense_is_refused_and_the_message_says_what_would_be_right(document: str, complaint: str) -> None:
    with pytest.raises(InvalidRuleSet) as refused:
        RuleSet.parse(document, "mine.toml")
    assert str(refused.value).startswith(f"mine.toml: {complaint}")


def test_a_book_refuses_a_document_that_makes_no_sense() -> None:
    with pytest.raises(InvalidRuleSet, match=r"deemed_stockout\.days is -3"):
        RuleBook.parse([edited("\ndays = 3", "\ndays = -3")])


def test_a_set_may_be_json() -> None:
    """As the API gives it, with and without the fields that nothing is said of."""
    assert RuleSet.parse(msgspec.json.decode(msgspec.json.encode(RULES))) == RULES
    assert RuleSet.parse(tomllib.loads(RULES_2023)) == RULES


@pytest.mark.parametrize("stated", [{}, {"name": []}, {"periods": {}}, {"penalty": None}, {"ship_by": []}])
def test_json_of_any_shape_is_refused_in_words(stated: dict[str, Any]) -> None:
    whole: dict[str, Any] = msgspec.to_builtins(RULES) | stated if stated else {}
    with pytest.raises(InvalidRuleSet, match=r"^the rule set: \w+ is "):
        RuleSet.parse(whole)


def test_json_as_deep_as_can_be_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidRuleSet):
        RuleSet.parse({"name": "deep", "periods": deep})
    with pytest.raises(InvalidRuleSet):
        RuleSet.parse("name = " + "[" * 100_000)


def test_a_field_that_is_not_there_in_a_table_that_may_be_absent() -> None:
    document = tomllib.loads(RULES_2023)
    period = {
        "name": "festival",
        "formed_from": MONDAY_8,
        "formed_before": MONDAY_9,
        "ship_by_hours": {"ordinary": 1, "frozen": 2},
        "source": "here",
        "confidence": "house",
    }
    with pytest.raises(InvalidRuleSet) as refused:
        RuleSet.parse({**document, "periods": [period]})
    assert "there is no field periods[0].ship_by_hours.frozen; there are ordinary, presale" in str(refused.value)


@pytest.mark.parametrize(("count", "shown"), [(58, "x" * 58 + "'"), (59, "x" * 59 + "…")])
def test_a_long_value_is_shown_by_its_first_sixty_characters(count: int, shown: str) -> None:
    document = tomllib.loads(RULES_2023)
    document["remedy"]["days"] = "x" * count
    with pytest.raises(InvalidRuleSet) as refused:
        RuleSet.parse(document)
    assert f"remedy.days is '{shown};" in str(refused.value)
