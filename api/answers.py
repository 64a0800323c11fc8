"""Outcomes of commands as HTTP answers; an answer is also what an idempotency receipt keeps."""

import msgspec
from fastapi.responses import Response

from api import problems
from api.problems import FieldError, Problem
from domain.order.commands import Place
from domain.order.decisions import Refusal
from domain.order.state import Order
from domain.order.view import allowed_actions, shipment_lock, view
from domain.rules.ruleset import RuleBook
from domain.rules.violations import violations
from infrastructure.command_path import Outcome, Tell


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status and body, with the order's version and status and the position that the headers repeat."""

    status: int
    body: bytes
    order_status: str | None = None
    version: int | None = None
    position: int | None = None

    def response(self, *, replayed: bool = False) -> Response:
        headers = {}
        if self.version is not None:
            headers["ETag"] = f'"{self.version}"'
        if self.position is not None:
            headers["Shiplock-Position"] = str(self.position)
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        media_type = problems.MEDIA_TYPE if self.status >= 400 else "application/json"
        return Response(self.body, self.status, headers, media_type)


class Answers:
    """Makes answers by the rule book."""

    def __init__(self, book: RuleBook) -> None:
        self._book = book

    def of(self, intent: Tell, outcome: Outcome) -> Answer:
        """The order as GET gives it, or the problem."""
        order = outcome.order
        if outcome.refusal:
            found = self.problem_of(intent, outcome.refusal, outcome)
            known = order.version > 0
            return Answer(
                found.status,
                msgspec.json.encode(found),
                order.status if known else None,
                order.version if known else None,
            )
        at = max(outcome.at, order.last_occurred_at or outcome.at)
        status = self.status(intent, outcome)
        body = msgspec.json.encode(view(order, self._book, at))
        return Answer(status, body, order.status, order.version, outcome.position)

    def status(self, intent: Tell, outcome: Outcome) -> int:
        """201 for an order that was not there before, 200 for everything else that was not refused."""
        return 201 if isinstance(intent.command, Place) and outcome.events else 200

    def problem_of(self, intent: Tell, refusal: Refusal, outcome: Outcome) -> Problem:
        instance = f"/v1/shops/{intent.shop_id}/orders/{intent.order_sn}"
        errors = None
        if refusal.pointer:
            errors = (FieldError("#" + refusal.pointer, refusal.detail),)
        found = problems.problem(refusal.code, instance, refusal.detail, errors)
        order = outcome.order
        if order.version == 0 or found.status == 422:
            return found
        return self._with_order(found, order, outcome)

    def _with_order(self, found: Problem, order: Order, outcome: Outcome) -> Problem:
        rules = self._book.governing(order)
        at = max(outcome.at, order.last_occurred_at or outcome.at)
        lock = shipment_lock(order, rules)
        return msgspec.structs.replace(
            found,
            order_status=order.status,
            version=order.version,
            allowed_actions=allowed_actions(order, violations(order, rules, at)),
            holds=lock.holds if lock.locked else None,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Answer)


def to_receipt(answer: Answer) -> bytes:
    return _encoder.encode(answer)


def from_receipt(stored: bytes) -> Answer:
    return _decoder.decode(stored)
