"""From a request to a command and its outcome to a response: single commands by their path, many in one body."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from api.http import problems
from api.http.door import Admission
from api.http.free_text import check_free_text
from api.http.permissions import check_command, forbidden
from api.http.problems import FieldError, Problem, Refused
from api.http.requests import (
    MAX_COMMAND_BYTES,
    claim,
    decode,
    idempotency_key,
    identifier,
    if_match,
    invalid,
    read_body,
    sku_identifier,
)
from api.http.responses import CommandResponse, respond, success_status
from api.program import Program
from domain.access.permissions import ONE_OF
from domain.kernel import Command, Identifier, OrderSn
from domain.order.decisions.table import ACTIONS
from domain.order.warnings import OrderWarning, warnings
from domain.rules.ruleset import RuleBook
from domain.sku.decisions import ACTIONS as SKU_ACTIONS
from infrastructure.commands.intents import CommandIntent, OrderCommand, Outcome, SkuCommand, SkuOutcome
from infrastructure.log.streams import OF_SKU

log = logging.getLogger("shiplock.api")

MAX_COMMANDS = 1_000


class HasCommand(Protocol):
    """A row of one of the domain's tables of actions."""

    @property
    def command(self) -> type[Command]: ...


class Target(NamedTuple):
    """What commands are addressed to: orders or SKUs.

    ``fingerprinted`` turns an id into what the fingerprint of an idempotency key's request holds of it.
    """

    plural: str
    path: str
    id_name: str
    actions: Mapping[str, HasCommand]
    identifier: Callable[[str], str]
    fingerprinted: Callable[[str], str]
    intent: type[OrderCommand] | type[SkuCommand]


ORDERS = Target(
    "Orders",
    "/v1/shops/{shop_id}/orders/{order_sn}",
    "order_sn",
    ACTIONS,
    lambda order_sn: identifier(order_sn, "order_sn"),
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

# ---- one command ------------------------------------------------------------------------------------

_READ_HEADERS = {b"content-length", b"shiplock-actor", b"if-match", b"idempotency-key"}


class Endpoint(NamedTuple):
    """What answers a request, as metrics name it."""

    path: str


class SingleCommand:
    """One command to an order or a SKU, as an ASGI application: the endpoint of a fast route of the pipeline."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._endpoints = {action: Endpoint(f"{target.path}/{action}") for action in target.actions}
        self._no_endpoint = Endpoint(f"{target.path}/{{action}}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        action = scope["path_params"]["action"]
        scope["route"] = self._endpoints.get(action, self._no_endpoint)
        if action not in self._target.actions:
            detail = f"{self._target.plural} know {', '.join(self._target.actions)}."
            raise Refused("unknown_action", detail, errors=[FieldError("#/action", "no such action", "path")])
        intent = await _intent(scope, receive, self._target, action)
        program: Program = scope["app"].state.program
        outcome = await program.commands.submit_one(intent)
        response = respond(intent, outcome, program.book)
        headers = response.headers(replayed=outcome.replayed)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


async def _intent(scope: Scope, receive: Receive, target: Target, action: str) -> CommandIntent:
    """The command of a request, with everything that its path and its headers say of it."""
    admission: Admission = scope["admission"]
    if admission.held.isdisjoint(ONE_OF[action]):
        raise forbidden(ONE_OF[action])
    entity_id = target.identifier(scope["path_params"][target.id_name])
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _READ_HEADERS:
            text = value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name == b"if-match" and name in headers else text
    body = await read_body(receive, headers.get(b"content-length"), MAX_COMMAND_BYTES)
    command = decode(body or b"{}", target.actions[action].command)
    key, on_behalf_of = headers.get(b"idempotency-key"), claim(headers.get(b"shiplock-actor"))
    expected = if_match(headers.get(b"if-match"))
    return _admitted(admission, target, entity_id, action, command, key, on_behalf_of, expected)


def _admitted(
    admission: Admission,
    target: Target,
    entity_id: str,
    action: str,
    command: Command,
    key: str | None,
    on_behalf_of: str | None,
    expected: int | frozenset[int] | None = None,
    pointer: str = "#",
) -> CommandIntent:
    """The intent of a command, if whoever was let in may give it, with the idempotency key as it was sent."""
    check_command(admission, action, command)
    check_free_text(command, pointer)
    assert admission.shop_id is not None
    credential = admission.credential
    return target.intent(
        admission.shop_id,
        entity_id,
        command,
        credential.actor,
        expected,
        idempotency_key(key, credential.principal_id, target.fingerprinted(entity_id), action, command),
        credential.key_id,
        on_behalf_of,
    )


# ---- many commands ----------------------------------------------------------------------------------


class BulkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 commands, judged in order."""

    commands: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_COMMANDS)]


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


class BulkOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one command: the status its own request would have had, warnings, and the problem if any."""

    status: int
    order_status: str | None = None
    version: int | None = None
    warnings: tuple[OrderWarning, ...] = ()
    problem: Problem | msgspec.Raw | None = None


class BulkResponse(msgspec.Struct, frozen=True):
    """Outcomes in the order of the commands, and the shop's last position that any of them reached."""

    outcomes: list[BulkOutcome]
    position: int


_envelope = msgspec.json.Decoder(BulkEntry)
_commands: dict[tuple[str, str], msgspec.json.Decoder[Command]] = {
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


async def submit_bulk(
    program: Program,
    admission: Admission,
    on_behalf_of: str | None,
    entries: Sequence[msgspec.Raw],
    path: str,
) -> BulkResponse:
    """Submit the commands of a bulk request together. ``path`` is the request's own.

    An entry that makes no sense is answered with a problem; it never stops the others.
    """
    outcomes: dict[int, BulkOutcome] = {}
    intents: dict[int, CommandIntent] = {}
    for number, entry in enumerate(entries):
        try:
            intents[number] = _intent_of_entry(admission, on_behalf_of, entry, f"#/commands/{number}")
        except Refused as refused:
            problem = problems.problem(refused.code, path, refused.detail, refused.errors)
            outcomes[number] = BulkOutcome(problem.status, problem=problem)
    position = 0
    results = await program.commands.submit(list(intents.values()))
    for (number, intent), result in zip(intents.items(), results, strict=True):
        if isinstance(result, Exception):
            outcomes[number] = _failed(intent, result)
        else:
            outcomes[number] = _bulk_outcome(intent, result, program.book)
            position = max(position, result.position)
    return BulkResponse([outcomes[number] for number in range(len(entries))], position)


def _intent_of_entry(
    admission: Admission, on_behalf_of: str | None, entry: msgspec.Raw, pointer: str
) -> CommandIntent:
    try:
        head = _envelope.decode(entry)
        target, entity_id = (ORDERS, head.order_sn) if head.sku_id is None else (SKUS, head.sku_id)
        assert entity_id is not None
        if head.action not in target.actions:
            known = f"{target.plural} know {', '.join(target.actions)}"
            error = FieldError(f"{pointer}/action", f"no such action; {known}")
            raise Refused("invalid_request", f"{error.pointer}: {error.detail}", errors=[error])
        whole = _commands[target.id_name, head.action].decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error, pointer) from error
    kind = target.actions[head.action].command
    command = kind(**{name: getattr(whole, name) for name in kind.__struct_fields__})
    return _admitted(
        admission,
        target,
        entity_id,
        head.action,
        command,
        head.idempotency_key,
        on_behalf_of,
        pointer=pointer,
    )


def _failed(intent: CommandIntent, error: Exception) -> BulkOutcome:
    """The outcome of a command that an error stopped."""
    refused = problems.refused(error)
    if refused is None:
        log.error("unexpected error in a bulk command", exc_info=error)
        refused = Refused("internal_error")
    target = SKUS if isinstance(intent, SkuCommand) else ORDERS
    path = target.path.format(**{"shop_id": intent.shop_id, target.id_name: intent.entity_id})
    problem = problems.problem(refused.code, path, refused.detail)
    return BulkOutcome(problem.status, problem=problem)


def _bulk_outcome(intent: CommandIntent, outcome: Outcome, book: RuleBook) -> BulkOutcome:
    if outcome.replayed or outcome.refusal:
        response: CommandResponse = respond(intent, outcome, book)
        problem = msgspec.Raw(response.body) if response.status >= 400 else None
        return BulkOutcome(response.status, response.order_status, response.version, problem=problem)
    status = success_status(intent, outcome)
    if isinstance(outcome, SkuOutcome):
        return BulkOutcome(status, version=outcome.sku.version)
    order = outcome.order
    order_warnings = warnings(order, book.governing(order), outcome.related_facts)
    return BulkOutcome(status, order.status, order.version, order_warnings)
