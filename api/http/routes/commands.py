"""Commands to orders and SKUs: one route for every action of the domain's tables, and the bulk endpoint."""

import logging
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple, Protocol

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http import openapi, problems
from api.http.parameters import ShopId
from api.http.problems import FieldError, Problem, Refused, wrong
from api.http.requests import (
    MAX_BULK_BYTES,
    MAX_COMMAND_BYTES,
    actor,
    decode_command,
    idempotency_key,
    identifier,
    if_match,
    invalid,
    read_body,
    sku_identifier,
)
from api.http.responses import Answer, from_receipt
from api.program import Program
from domain.kernel import Command, Identifier, OrderSn
from domain.order.decisions.table import ACTIONS
from domain.order.warnings import OrderWarning, warnings
from domain.sku.decisions import ACTIONS as SKU_ACTIONS
from infrastructure.commands.intents import (
    CommandIntent,
    Contended,
    OrderCommand,
    Outcome,
    Overloaded,
    SkuCommand,
    StillRunning,
    Unavailable,
)
from infrastructure.log.streams import OF_SKU

log = logging.getLogger("shiplock.api")

router = APIRouter(tags=["commands"])

MAX_COMMANDS = 1_000

Actor = Annotated[
    str | None,
    Header(alias="Shiplock-Actor", description="Who gives the commands; kept with their events. Default: api."),
]


class BulkEntry(msgspec.Struct, frozen=True):
    """What every entry of a bulk request has; its other fields are the command's own.

    It names an order or a SKU.
    """

    action: str
    order_sn: OrderSn | None = None
    sku_id: Identifier | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None

    def __post_init__(self) -> None:
        if (self.order_sn is None) == (self.sku_id is None):
            raise ValueError("either order_sn or sku_id is needed")


class Bulk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 commands, judged in order."""

    commands: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_COMMANDS)]


class HasCommand(Protocol):
    """A row of one of the domain's tables of actions."""

    @property
    def command(self) -> type[Command]: ...


class Target(NamedTuple):
    """What commands go to: orders or SKUs. ``key_of`` is what an idempotency key's request is told apart by."""

    plural: str
    path: str
    id_name: str
    actions: Mapping[str, HasCommand]
    identifier: Callable[[str], str]
    key_of: Callable[[str], str]
    intent: type[OrderCommand] | type[SkuCommand]


ORDERS = Target(
    "Orders",
    "/v1/shops/{shop_id}/orders/{order_sn}",
    "order_sn",
    ACTIONS,
    lambda stated: identifier(stated, "order_sn"),
    lambda order_sn: order_sn,
    OrderCommand,
)
SKUS = Target(
    "SKUs",
    "/v1/shops/{shop_id}/skus/{sku_id}",
    "sku_id",
    SKU_ACTIONS,
    sku_identifier,
    OF_SKU.stream,
    SkuCommand,
)

_envelope = msgspec.json.Decoder(BulkEntry)
_COMMANDS: dict[tuple[str, str], msgspec.json.Decoder[Command]] = {
    (target.id_name, name): (
        # The command's own fields and those of the envelope, so that an unknown one is still an error.
        msgspec.json.Decoder(
            msgspec.defstruct(
                f"Bulk{action.command.__name__}",
                [("action", str), (target.id_name, str), ("idempotency_key", str | None, None)],
                bases=(action.command,),
                frozen=True,
                kw_only=True,
            )
        )
    )
    for target in (ORDERS, SKUS)
    for name, action in target.actions.items()
}


class BulkOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one command: the status its own request would have had, warnings, and the problem if any."""

    status: int
    order_status: str | None = None
    version: int | None = None
    warnings: tuple[OrderWarning, ...] = ()
    problem: Problem | msgspec.Raw | None = None


class BulkAnswer(msgspec.Struct, frozen=True):
    """Outcomes in the order of the commands, and the shop's last position that any of them reached."""

    outcomes: list[BulkOutcome]
    position: int


_READ_HEADERS = {b"content-length", b"shiplock-actor", b"if-match", b"idempotency-key"}


class Endpoint(NamedTuple):
    """What answers a request, as metrics name it."""

    path: str


class Single:
    """One command to an order or a SKU, as an ASGI application of its own: a fast route of the pipeline."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._endpoints = {action: Endpoint(f"{target.path}/{action}") for action in target.actions}
        self._of_no_action = Endpoint(f"{target.path}/{{action}}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        action = scope["path_params"]["action"]
        scope["route"] = self._endpoints.get(action, self._of_no_action)
        if action not in self._target.actions:
            detail = f"{self._target.plural} know {', '.join(self._target.actions)}."
            raise Refused("unknown_action", detail, errors=[FieldError("#/action", "no such action", "path")])
        answer, replayed = await _told(scope, receive, self._target, action)
        headers = answer.headers(replayed=replayed)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


# A SKU's id may hold a slash, which arrives decoded.
singles = [
    Route(target.path.replace("{sku_id}", "{sku_id:path}") + "/{action}", Single(target), methods=["POST"])
    for target in (ORDERS, SKUS)
]


async def _told(scope: Scope, receive: Receive, target: Target, action: str) -> tuple[Answer, bool]:
    """The answer to a command, and whether it is a replay of an earlier one."""
    shop_id = identifier(scope["path_params"]["shop_id"], "shop_id")
    told = target.identifier(scope["path_params"][target.id_name])
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ_HEADERS}
    body = await read_body(receive, headers.get(b"content-length"), MAX_COMMAND_BYTES)
    command = decode_command(body, target.actions[action].command)
    intent = target.intent(
        shop_id,
        told,
        command,
        actor(headers.get(b"shiplock-actor")),
        if_match(headers.get(b"if-match")),
        idempotency_key(headers.get(b"idempotency-key"), target.key_of(told), action, command),
    )
    program: Program = scope["app"].state.program
    try:
        outcome = await program.path.submit_one(intent)
    except Exception as error:
        raise as_problem(error) from error
    answer = program.answers.of(intent, outcome) if outcome.response is None else from_receipt(outcome.response)
    return answer.at(outcome.position), outcome.replayed


@router.post(
    "/v1/shops/{shop_id}/commands",
    openapi_extra=openapi.bulk(),
    responses=openapi.bulk_responses(),
)
async def bulk(request: Request, shop_id: ShopId, stated: Actor = None) -> Response:
    """Many commands at once. They are judged in order; one that is refused never stops the others.

    Each may have an `idempotency_key` of its own; there is none for them all.
    """
    if "idempotency-key" in request.headers:
        raise wrong("Idempotency-Key", "give each command its own `idempotency_key`", "header")
    body = await read_body(request.receive, request.headers.get("content-length"), MAX_BULK_BYTES)
    try:
        entries = msgspec.json.decode(body, type=Bulk).commands
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error) from error
    program: Program = request.app.state.program
    teller = actor(stated)
    outcomes: dict[int, BulkOutcome] = {}
    intents: list[tuple[int, CommandIntent]] = []
    for number, entry in enumerate(entries):
        try:
            intents.append((number, _intent(shop_id, teller, entry, f"#/commands/{number}")))
        except Refused as refused:
            found = problems.problem(refused.code, request.url.path, refused.detail, refused.errors)
            outcomes[number] = BulkOutcome(found.status, problem=found)
    try:
        answers = await program.path.submit([intent for _, intent in intents])
    except Exception as error:
        raise as_problem(error) from error
    position = 0
    for (number, intent), answer in zip(intents, answers, strict=True):
        outcome, reached = _bulk_outcome(program, intent, answer)
        outcomes[number] = outcome
        position = max(position, reached)
    answer_to_all = BulkAnswer([outcomes[number] for number in range(len(entries))], position)
    return Response(
        msgspec.json.encode(answer_to_all), 200, {"Shiplock-Position": str(position)}, "application/json"
    )


def _intent(shop_id: str, teller: str, entry: msgspec.Raw, pointer: str) -> CommandIntent:
    try:
        head = _envelope.decode(entry)
        target, told = (ORDERS, head.order_sn) if head.sku_id is None else (SKUS, head.sku_id)
        assert told is not None
        if head.action not in target.actions:
            known = f"{target.plural} know {', '.join(target.actions)}"
            error = FieldError(f"{pointer}/action", f"no such action; {known}")
            raise Refused("invalid_request", f"{error.pointer}: {error.detail}", errors=[error])
        found = _COMMANDS[target.id_name, head.action].decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error, pointer) from error
    kind = target.actions[head.action].command
    asked = kind(**{name: getattr(found, name) for name in kind.__struct_fields__})
    key = idempotency_key(head.idempotency_key, target.key_of(told), head.action, asked)
    return target.intent(shop_id, told, asked, teller, idempotency=key)


def _bulk_outcome(program: Program, intent: CommandIntent, outcome: Outcome | Exception) -> tuple[BulkOutcome, int]:
    if isinstance(outcome, Exception):
        refused = as_problem(outcome)
        if not isinstance(refused, Refused):
            log.error("unexpected error in a bulk command", exc_info=outcome)
            refused = Refused("internal_error")
        target = SKUS if isinstance(intent, SkuCommand) else ORDERS
        instance = target.path.format(**{"shop_id": intent.shop_id, target.id_name: intent.entity_id})
        found = problems.problem(refused.code, instance, refused.detail)
        return BulkOutcome(found.status, problem=found), 0
    if not outcome.replayed and not outcome.refusal:
        status = program.answers.status(intent, outcome)
        if not isinstance(intent, OrderCommand):
            return BulkOutcome(status, version=outcome.state.version), outcome.position
        order = outcome.order
        doubtful = warnings(order, program.book.governing(order), outcome.related_facts)
        return BulkOutcome(status, order.status, order.version, doubtful), outcome.position
    answer = program.answers.of(intent, outcome) if outcome.response is None else from_receipt(outcome.response)
    problem = msgspec.Raw(answer.body) if answer.status >= 400 else None
    return BulkOutcome(answer.status, answer.order_status, answer.version, problem=problem), outcome.position


def as_problem(error: Exception) -> Refused | Exception:
    """What stopped the command path, as clients are told of it; anything else is a defect and stays one."""
    match error:
        case Overloaded():
            return Refused("overloaded")
        case StillRunning():
            return Refused("still_running")
        case Contended():
            return Refused(
                "overloaded", "The order or SKU is changed by others faster than this command gets through."
            )
        case Unavailable():
            return Refused("unavailable")
        case _:
            return error
