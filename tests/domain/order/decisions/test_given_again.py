"""200 means done: an action that is given again and says something else than what stands is not answered by it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from domain.kernel import Command, Refusal
from tests.domain.order.test_view import STORIES
from tests.domain.vocabulary import A_COMMAND_FOR, FRIDAY_9, Fact, Story, hours

SAYS_NOTHING_MORE = {
    ("confirm-receipt", "tracking_number"),  # the receipt is the order's, whichever parcel it is told of
    ("upload-tracking", "kind"),
    ("record-supplier-tracking", "kind"),
    ("change-ship-by", "reason"),  # the moment is the same
    ("withdraw-fact", "reason"),  # what was taken back is taken back, whatever the reason
    ("replace-tracking", "reason"),
    ("replace-tracking", "replaces"),
    ("record-supplier-tracking", "lines"),
    ("upload-tracking", "lines"),
}
"""Other values of these do not contradict what stands."""

OTHER: dict[str, object] = {
    "initiated_by": "platform",
    "outcome": None,
    "hold": "risk_control",
    "goods_type": "presale",
    "finding": "other",
    "kind": "stockout",
}


def accepting(command: Command) -> Iterator[Story]:
    """Stories after which the command was taken."""
    for story in STORIES.values():
        outcome = story.when(command, at=FRIDAY_9)
        if not isinstance(outcome.decision, Refusal) and outcome.decision:
            yield story.and_(*(Fact(event, outcome.occurred_at) for event in outcome.decision))


def others(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    """The command with another value in one of its fields."""
    for field in msgspec.structs.fields(type(command)):
        value = getattr(command, field.name)
        if field.name in ("occurred_at", "note") or value is UNSET or (name, field.name) in SAYS_NOTHING_MORE:
            continue
        if field.name in OTHER and OTHER[field.name] != value:
            other = OTHER[field.name]
        elif isinstance(value, bool | None):
            continue
        elif isinstance(value, int):
            other = value + 1
        elif isinstance(value, str):
            other = value + "-2"
        elif isinstance(value, datetime):
            other = value + timedelta(hours=1)
        else:
            continue
        if other is not None:
            yield field.name, replace(command, **{field.name: other})


@pytest.mark.parametrize("name", list(A_COMMAND_FOR))
def test_an_action_given_again_with_something_else_is_refused_or_recorded(name: str) -> None:
    command = A_COMMAND_FOR[name]
    for story in accepting(command):
        for field, other in others(name, command):
            decision = story.when(other, at=FRIDAY_9 + hours(1)).decision
            assert decision != (), f"{field} is another, and nobody is told what stands"
