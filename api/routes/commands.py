"""Commands to orders: one route per action of the domain's table, and the bulk endpoint."""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from api import openapi, problems
from api.answers import Answer, from_receipt
from api.bodies import (
    MAX_BULK_BYTES,
    MAX_COMMAND_BYTES,
    decode_command,
    idempotency_key,
    if_match,
    invalid,
    read_body,
)
from api.problems import FieldError, Problem, Refused
from api.program import Program
from api.queries import OrderSn, ShopId
from domain.order.decisions import ACTIONS
from infrastructure.command_path import (
    Contended,
    Outcome,
    Overloaded,
    StillRunning,
    Tell,
    Unavailable,
)

log = logging.getLogger("shiplock.api")

router = APIRouter(tags=["commands"])

MAX_COMMANDS = 1_000

Actor = Annotated[
    str | None,
    Header(
        alias="Shiplock-Actor",
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Who gives the command; kept with its events. Default: api.",
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=257,
        description="A name for this attempt; the same key gives the same answer and changes nothing again.",
    ),
]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=100, description="Only if the order is at this version.")
]


class BulkEntry(msgspec.Struct, frozen=True):
    """What every entry of a bulk request has; its other fields are the command's own."""

    action: str
    order_sn: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class Bulk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 commands, judged in order."""

    commands: Annotated[list[dict[str, msgspec.Raw]], msgspec.Meta(min_length=1, max_length=MAX_COMMANDS)]


class BulkOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one command: the status its own request would have had, and the problem if any."""

    status: int
    order_status: str | None = None
    version: int | None = None
    problem: Problem | msgspec.Raw | None = None


class BulkAnswer(msgspec.Struct, frozen=True):
    """Outcomes in the order of the commands, and the shop's last position that any of them reached."""

    outcomes: list[BulkOutcome]
    position: int


def command_route(action: str) -> Callable[..., Awaitable[Response]]:
    kind = ACTIONS[action].command

    async def handle(
        request: Request,
        shop_id: ShopId,
        order_sn: OrderSn,
        key: Key = None,
        match: IfMatch = None,
        actor: Actor = None,
    ) -> Response:
        command = decode_command(await read_body(request, MAX_COMMAND_BYTES), kind)
        intent = Tell(
            shop_id,
            order_sn,
            command,
            actor or "api",
            if_match(match),
            idempotency_key(key, order_sn, action, command),
        )
        program: Program = request.app.state.program
        try:
            outcome = await program.path.tell(intent)
        except Exception as error:
            raise _as_problem(error) from error
        if outcome.receipt is not None:
            return from_receipt(outcome.receipt).response(replayed=True)
        return program.answers.of(intent, outcome).response()

    handle.__name__ = action.replace("-", "_")
    handle.__doc__ = kind.__doc__
    return handle


for _action in ACTIONS:
    router.add_api_route(
        f"/v1/shops/{{shop_id}}/orders/{{order_sn}}/{_action}",
        command_route(_action),
        methods=["POST"],
        status_code=201 if _action == "place" else 200,
        openapi_extra=openapi.command(_action),
        responses=openapi.command_responses(_action),
    )


@router.post("/v1/shops/{shop_id}/orders/{order_sn}/{action}", include_in_schema=False)
async def unknown_action(shop_id: ShopId, order_sn: OrderSn, action: str) -> Response:
    detail = f"Orders know {', '.join(ACTIONS)}."
    raise Refused("unknown_action", detail, errors=[FieldError("#/action", "no such action", "path")])


@router.post(
    "/v1/shops/{shop_id}/commands",
    openapi_extra=openapi.bulk(),
    responses=openapi.bulk_responses(),
)
async def bulk(request: Request, shop_id: ShopId, actor: Actor = None) -> Response:
    """Many commands at once. They are judged in order; one that is refused never stops the others."""
    body = await read_body(request, MAX_BULK_BYTES)
    try:
        entries = msgspec.json.decode(body, type=Bulk).commands
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error) from error
    program: Program = request.app.state.program
    outcomes: list[BulkOutcome | None] = [None] * len(entries)
    intents: list[tuple[int, Tell]] = []
    for number, entry in enumerate(entries):
        try:
            intents.append((number, _intent(shop_id, actor or "api", entry, f"#/commands/{number}")))
        except Refused as refused:
            found = problems.problem(refused.code, request.url.path, refused.detail, refused.errors)
            outcomes[number] = BulkOutcome(found.status, problem=found)
    try:
        answers = await program.path.submit([intent for _, intent in intents])
    except Exception as error:
        raise _as_problem(error) from error
    position = 0
    for (number, intent), answer in zip(intents, answers, strict=True):
        outcome, reached = _bulk_outcome(program, intent, answer)
        outcomes[number] = outcome
        position = max(position, reached)
    encoded = msgspec.json.encode({"outcomes": outcomes, "position": position})
    return Response(encoded, 200, {"Shiplock-Position": str(position)}, "application/json")


def _intent(shop_id: str, actor: str, entry: dict[str, msgspec.Raw], pointer: str) -> Tell:
    envelope = {name: entry[name] for name in ("action", "order_sn", "idempotency_key") if name in entry}
    try:
        head = msgspec.json.decode(msgspec.json.encode(envelope), type=BulkEntry)
    except msgspec.DecodeError as error:
        raise invalid(error, pointer) from error
    action = ACTIONS.get(head.action)
    if action is None:
        wrong = FieldError(f"{pointer}/action", f"no such action; orders know {', '.join(ACTIONS)}")
        raise Refused("invalid_request", f"{wrong.pointer}: {wrong.detail}", errors=[wrong])
    fields = {name: raw for name, raw in entry.items() if name not in envelope}
    command = decode_command(msgspec.json.encode(fields), action.command, pointer)
    key = idempotency_key(head.idempotency_key, head.order_sn, head.action, command)
    return Tell(shop_id, head.order_sn, command, actor, idempotency=key)


def _bulk_outcome(program: Program, intent: Tell, outcome: Outcome | Exception) -> tuple[BulkOutcome, int]:
    if isinstance(outcome, Exception):
        refused = _as_problem(outcome)
        if not isinstance(refused, Refused):
            log.error("unexpected error in a bulk command", exc_info=outcome)
            refused = Refused("internal_error")
        instance = f"/v1/shops/{intent.shop_id}/orders/{intent.order_sn}"
        found = problems.problem(refused.code, instance, refused.detail)
        return BulkOutcome(found.status, problem=found), 0
    answer: Answer
    if outcome.receipt is not None:
        answer = from_receipt(outcome.receipt)
    elif outcome.refusal:
        answer = program.answers.of(intent, outcome)
    else:
        status = program.answers.status(intent, outcome)
        return BulkOutcome(status, outcome.order.status, outcome.order.version), outcome.position
    problem = msgspec.Raw(answer.body) if answer.status >= 400 else None
    return BulkOutcome(answer.status, answer.order_status, answer.version, problem), answer.position or 0


def _as_problem(error: Exception) -> Refused | Exception:
    """What stopped the command path, as clients are told of it; anything else is a defect and stays one."""
    match error:
        case Overloaded():
            return Refused("overloaded")
        case StillRunning():
            return Refused("still_running")
        case Contended():
            return Refused("overloaded", "The order is changed by others faster than this command gets through.")
        case Unavailable():
            return Refused("unavailable")
        case _:
            return error
