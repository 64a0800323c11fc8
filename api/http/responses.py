"""Responses: JSON bodies, and the outcomes of commands, which idempotency receipts keep as well."""

from collections.abc import Callable, Mapping
from typing import Self

import msgspec
from fastapi.responses import Response

from api.http import problems
from api.http.problems import FieldError, Problem
from domain.kernel import Refusal
from domain.order.commands import Place
from domain.order.view import allowed_actions, shipment_lock, view
from domain.order.violations import violations
from domain.rules.ruleset import RuleBook
from domain.stock.view import SkuFacts
from infrastructure.commands.intents import CommandIntent, OrderOutcome, Outcome, SkuOutcome


class CommandResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status and body, with the order's or SKU's version, the order's status, and the position.

    Idempotency receipts keep it as it is encoded here: the names of the fields are a storage format.
    """

    status: int
    body: bytes
    order_status: str | None = None
    version: int | None = None
    position: int | None = None

    def at(self, position: int) -> Self:
        """The same with the position.

        It was made before the append, because a receipt keeps it and commits with the events. So the position of
        an order or SKU with new events is 0 in it. That is the first position in the body: before it stand only
        the id, the status and the version. A problem has none.
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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CommandResponse)


def respond(intent: CommandIntent, outcome: Outcome, book: RuleBook) -> CommandResponse:
    """The response to a command: the order as GET gives it, the SKU's facts, or the problem.

    Where the command has a receipt, it is the response that the receipt keeps.
    """
    receipt = outcome.response
    response = _response(intent, outcome, book) if receipt is None else _decoder.decode(receipt)
    return response.at(outcome.position)


def renderer(book: RuleBook) -> Callable[[CommandIntent, Outcome], bytes]:
    """What makes the response that a receipt keeps, still without its position."""
    return lambda intent, outcome: _encoder.encode(_response(intent, outcome, book))


def success_status(intent: CommandIntent, outcome: Outcome) -> int:
    """201 for an order that was not there before, 200 for everything else that was not refused."""
    return 201 if isinstance(intent.command, Place) and outcome.events else 200


def _response(intent: CommandIntent, outcome: Outcome, book: RuleBook) -> CommandResponse:
    if isinstance(outcome, SkuOutcome):
        return _sku_response(intent, outcome)
    order = outcome.order
    if outcome.refusal:
        problem = _order_problem(intent, outcome.refusal, outcome, book)
        known = order.is_placed
        return CommandResponse(
            problem.status,
            msgspec.json.encode(problem),
            order.status if known else None,
            order.version if known else None,
        )
    shown = view(order, book, outcome.shown_at, outcome.related_facts)
    status = success_status(intent, outcome)
    return CommandResponse(status, msgspec.json.encode(shown), order.status, order.version)


def _sku_response(intent: CommandIntent, outcome: SkuOutcome) -> CommandResponse:
    sku = outcome.sku
    version = sku.version or None
    if outcome.refusal:
        problem = _problem(outcome.refusal, f"/v1/shops/{intent.shop_id}/skus/{intent.entity_id}")
        if version and problem.status != 422:
            problem = msgspec.structs.replace(problem, version=version)
        return CommandResponse(problem.status, msgspec.json.encode(problem), version=version)
    body = msgspec.json.encode(SkuFacts.of(sku))
    return CommandResponse(200, body, version=version)


def _order_problem(intent: CommandIntent, refusal: Refusal, outcome: OrderOutcome, book: RuleBook) -> Problem:
    problem = _problem(refusal, f"/v1/shops/{intent.shop_id}/orders/{intent.entity_id}")
    order = outcome.order
    if not order.is_placed or problem.status == 422:
        return problem
    rules = book.governing(order)
    at = outcome.shown_at
    lock = shipment_lock(order, rules)
    return msgspec.structs.replace(
        problem,
        order_status=order.status,
        version=order.version,
        allowed_actions=allowed_actions(order, violations(order, rules, at), at),
        holds=lock.holds if lock.locked else None,
        judged_at=at,
    )


def _problem(refusal: Refusal, instance: str) -> Problem:
    errors = (FieldError("#" + refusal.pointer, refusal.detail),) if refusal.pointer else None
    return problems.problem(refusal.code, instance, refusal.detail, errors)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON, by the structs it is made of."""
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def written(body: object, position: int | None) -> Response:
    """What a write answers: a report as JSON, and the last position that it reached in the shop's log, if any."""
    return json_response(body, headers=None if position is None else {"Shiplock-Position": str(position)})
