"""Outcomes of commands as HTTP answers; an answer is also what an idempotency receipt keeps."""

from collections.abc import Mapping
from typing import Self

import msgspec
from fastapi.responses import Response

from api.http import problems
from api.http.problems import FieldError, Problem
from domain.kernel import Refusal
from domain.order.commands import Place
from domain.order.state import Order
from domain.order.view import allowed_actions, shipment_lock, view
from domain.order.violations import violations
from domain.rules.ruleset import RuleBook
from domain.stock.view import SkuFacts
from infrastructure.commands.intents import CommandIntent, Outcome, SkuCommand


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status and body, with the order's or SKU's version, the order's status, and the position."""

    status: int
    body: bytes
    order_status: str | None = None
    version: int | None = None
    position: int | None = None

    def at(self, position: int) -> Self:
        """The same with the position, which an answer is made without: only the append knows it.

        It replaces the first position in the body, that of the order or SKU; before it stand only its
        id, status and version. A problem has none.
        """
        if self.status >= 400 or position == 0:
            return self
        body = self.body.replace(b'"position":0,', b'"position":%d,' % position, 1)
        return msgspec.structs.replace(self, body=body, position=position)

    def headers(self, *, replayed: bool = False) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them."""
        media_type = problems.MEDIA_TYPE if self.status >= 400 else "application/json"
        headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", media_type.encode())]
        if self.version is not None:
            headers.append((b"etag", b'"%d"' % self.version))
        if self.position is not None:
            headers.append((b"shiplock-position", b"%d" % self.position))
        if replayed:
            headers.append((b"idempotent-replayed", b"true"))
        return headers


class Answers:
    """Makes answers by the rule book."""

    def __init__(self, book: RuleBook) -> None:
        self._book = book

    def of(self, intent: CommandIntent, outcome: Outcome) -> Answer:
        """The order as GET gives it, the SKU's facts, or the problem; its position is told by ``Answer.at``."""
        if isinstance(intent, SkuCommand):
            return self._of_sku(intent, outcome)
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
        body = msgspec.json.encode(
            view(msgspec.structs.replace(order, position=0), self._book, at, outcome.related_facts)
        )
        return Answer(status, body, order.status, order.version)

    def _of_sku(self, intent: SkuCommand, outcome: Outcome) -> Answer:
        sku = outcome.sku
        version = sku.version or None
        if outcome.refusal:
            instance = f"/v1/shops/{intent.shop_id}/skus/{intent.entity_id}"
            found = _problem(outcome.refusal, instance)
            if version and found.status != 422:
                found = msgspec.structs.replace(found, version=version)
            return Answer(found.status, msgspec.json.encode(found), version=version)
        body = msgspec.json.encode(SkuFacts.of(msgspec.structs.replace(sku, position=0)))
        return Answer(200, body, version=version)

    def status(self, intent: CommandIntent, outcome: Outcome) -> int:
        """201 for an order that was not there before, 200 for everything else that was not refused."""
        return 201 if isinstance(intent.command, Place) and outcome.events else 200

    def problem_of(self, intent: CommandIntent, refusal: Refusal, outcome: Outcome) -> Problem:
        found = _problem(refusal, f"/v1/shops/{intent.shop_id}/orders/{intent.entity_id}")
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
            allowed_actions=allowed_actions(order, violations(order, rules, at), at),
            holds=lock.holds if lock.locked else None,
            judged_at=at,
        )


def _problem(refusal: Refusal, instance: str) -> Problem:
    errors = (FieldError("#" + refusal.pointer, refusal.detail),) if refusal.pointer else None
    return problems.problem(refusal.code, instance, refusal.detail, errors)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Answer)


def to_receipt(answer: Answer) -> bytes:
    return _encoder.encode(answer)


def from_receipt(stored: bytes) -> Answer:
    return _decoder.decode(stored)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON, by the structs it is made of."""
    return Response(msgspec.json.encode(body), status, headers, "application/json")
