"""The OpenAPI document: schemas of the program's own structs, and an example of each command and each problem."""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI

from api.http import problems
from api.http.access_schemas import (
    AddedClient,
    GrantRequest,
    IssuedKey,
    Me,
    NewClient,
    NewKeyRequest,
    RotationRequest,
    ShopRequest,
    VisibleShop,
)
from api.http.commands import ORDERS, SKUS
from api.http.permissions import OPEN, GuardedRoute
from api.http.problems import PROBLEMS, Problem, ProblemCode
from api.http.request_schemas import BacktestRequest, RebuildRequest, StockoutApplications
from domain.access.permissions import ONE_OF
from domain.kernel import ID_PATTERN
from domain.money.daily_report import DailyReport
from domain.money.reconciliation import Difference
from domain.order.decisions.action import Action
from domain.order.decisions.table import ACTIONS, COMMON_REFUSALS
from domain.order.diff import OrderDiff
from domain.order.view import OrderView
from domain.rules.ruleset import RuleSet
from domain.sku.decisions import ACTIONS as SKU_ACTIONS
from domain.sku.decisions import COMMON_REFUSALS as SKU_COMMON_REFUSALS
from domain.sku.decisions import Action as SkuAction
from domain.stock.view import SkuFacts, SkuView
from domain.stockout.case_view import CaseView, OrderInCase
from domain.stockout.messages import FilledMessage, Message
from domain.stockout.way_out import WayOut
from infrastructure.access.reading import AccessEventView, EnrolledShop, PrincipalView
from infrastructure.audit.archive import KeyInUse
from infrastructure.audit.proving import ConsistencyProof, InclusionProof
from infrastructure.imports.bills import BillReport
from infrastructure.imports.stockout_applications import ApplicationReport
from infrastructure.jobs.backtests import BacktestJob
from infrastructure.jobs.job import Job
from infrastructure.projections.rebuild import Progress
from infrastructure.queries.deadlines import ListedDeadline
from infrastructure.queries.doubtful import DoubtfulShipment
from infrastructure.queries.event_json import StoredEventView
from infrastructure.queries.lists import ListedViolation, OrderSummary
from infrastructure.queries.penalties import PenaltySum
from infrastructure.queries.projections import Parked, Projection
from infrastructure.queries.reconciliation import UnmatchedCharge
from infrastructure.queries.suppliers import OpenHandover, SupplierRecord

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
BINARY = (XLSX, "application/vnd.ms-excel", "application/zip", "application/gzip", "application/octet-stream")
"""Other names under which clients send a table. Some call a text table a workbook; what it is its content tells."""

FILES = frozenset({CSV, "text/tab-separated-values", "application/x-zip-compressed", "application/x-gzip", *BINARY})
"""All names of a file. A form or JSON is none, nor is plain text, which any web page may send."""

_REF = "#/components/schemas/{name}"

_ANY_COMMAND: tuple[ProblemCode, ...] = ("stale_version", "too_large", "idempotency_key_reused", "still_running")
_ANY: tuple[ProblemCode, ...] = ("overloaded", "unavailable", "internal_error")

_ORDER_HEADERS = {
    "ETag": {"description": "The version of the order or SKU.", "schema": {"type": "string"}},
    "Shiplock-Position": {
        "description": "The position in the shop's log; pass it as min_position to read your own write in lists.",
        "schema": {"type": "integer"},
    },
    "Idempotent-Replayed": {
        "description": "true when the answer was given before for this Idempotency-Key.",
        "schema": {"type": "string"},
    },
}


_COMMAND_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "shop_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": ID_PATTERN},
        "example": "100000001",
    },
    {
        "name": "order_sn",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": ID_PATTERN},
        "example": "180831-481803633911509",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A name for this attempt; the same key gives the same answer and changes nothing again.",
        "schema": {"type": "string", "maxLength": 257},
    },
    {
        "name": "If-Match",
        "in": "header",
        "description": "Only if the order is at this version.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    {
        "name": "Shiplock-Actor",
        "in": "header",
        "description": "Whom the client acts for, by its own word; kept with the events as on_behalf_of.",
        "schema": {"type": "string", "maxLength": 64, "pattern": "^[0-9A-Za-z._:-]+$"},
    },
]


_SKU_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "sku_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        "example": "52000301",
    }
    if parameter["name"] == "order_sn"
    else parameter
    for parameter in _COMMAND_PARAMETERS
]


def command_path_item(action: str) -> dict[str, Any]:
    """The path of a command; all of them are one route, so FastAPI does not describe them itself."""
    return _command(action, ACTIONS[action], _COMMAND_PARAMETERS, command_responses(action))


def sku_command_path(action: str) -> dict[str, Any]:
    """The same for a command to a SKU."""
    done = _content("SkuFacts", "What is known of the SKU after the command; nothing changed if it was so already.")
    done["headers"] = _ORDER_HEADERS
    responses: dict[int | str, dict[str, Any]] = {200: done}
    responses |= problem_responses(*SKU_COMMON_REFUSALS, *_ANY_COMMAND, *_ANY)
    return _command(action, SKU_ACTIONS[action], _SKU_PARAMETERS, responses)


def _command(
    name: str,
    action: Action[Any] | SkuAction[Any],
    parameters: list[dict[str, Any]],
    responses: dict[int | str, dict[str, Any]],
) -> dict[str, Any]:
    kind = action.command
    content = {
        "schema": {"$ref": _REF.format(name=kind.__name__)},
        "examples": {name: {"value": action.example}},
    }
    operation = {
        "tags": ["commands"],
        "summary": name.replace("-", " ").capitalize(),
        "description": action.summary,
        "operationId": name,
        "parameters": parameters,
        "requestBody": {
            "required": any(field.required for field in msgspec.structs.fields(kind)),
            "content": {"application/json": content},
        },
        "responses": {str(status): response for status, response in responses.items()},
    }
    return {"post": operation}


def command_responses(action: str) -> dict[int | str, dict[str, Any]]:
    done = _content("OrderView", "The order after the command; nothing changed if it was so already.")
    done["headers"] = _ORDER_HEADERS
    status = 201 if action == "place" else 200
    codes = (*COMMON_REFUSALS, *ACTIONS[action].refusals, *_ANY_COMMAND, *_ANY)
    if action == "place":
        codes = tuple(code for code in codes if code != "unknown_order")
        return {201: done, 200: {**done, "description": "The same order was placed before."}} | problem_responses(
            *codes
        )
    return {status: done} | problem_responses(*codes)


def bulk() -> dict[str, Any]:
    entry = {
        "type": "object",
        "required": ["action"],
        "oneOf": [{"required": ["order_sn"]}, {"required": ["sku_id"]}],
        "properties": {
            "order_sn": {"type": "string"},
            "sku_id": {"type": "string", "maxLength": 64},
            "action": {"enum": [*ACTIONS, *SKU_ACTIONS]},
            "idempotency_key": {"type": "string", "maxLength": 255},
        },
        "additionalProperties": True,
        "description": "An order or a SKU, an action, and the fields of that action's own body.",
    }
    commands = {"type": "array", "items": entry, "minItems": 1, "maxItems": 1000}
    schema = {
        "type": "object",
        "required": ["commands"],
        "properties": {"commands": commands},
        "additionalProperties": False,
    }
    sample = {
        "commands": [
            {"order_sn": "180831-481803633911509", "action": "form-group"},
            {
                "order_sn": "180831-481803633911509",
                "action": "upload-tracking",
                "idempotency_key": "print-job-7-line-3",
                **ACTIONS["upload-tracking"].example,
            },
            {"sku_id": "52000301", "action": "count-stock", "on_hand": 120},
        ]
    }
    content = {"schema": schema, "examples": {"bulk": {"value": sample}}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def bulk_responses() -> dict[int | str, dict[str, Any]]:
    outcome = {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "integer"},
            "order_status": {"type": "string"},
            "version": {"type": "integer"},
            "warnings": {"type": "array", "items": {"$ref": _REF.format(name="OrderWarning")}},
            "problem": {"$ref": _REF.format(name="Problem")},
        },
    }
    schema = {
        "type": "object",
        "required": ["outcomes", "position"],
        "properties": {"outcomes": {"type": "array", "items": outcome}, "position": {"type": "integer"}},
    }
    done = {
        "description": "An outcome for each command, in the same order.",
        "content": {"application/json": {"schema": schema}},
    }
    return {200: done} | problem_responses("invalid_request", "too_large", *_ANY)


def ok(schema: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a query for one thing."""
    return {200: _content(schema, "Found.")} | problem_responses("invalid_request", *codes, *_ANY)


def accepted(schema: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a request for work that takes its time."""
    begun = _content(schema, "It is begun.")
    begun["headers"] = {"Location": {"description": "Where to watch it.", "schema": {"type": "string"}}}
    return {202: begun} | problem_responses("invalid_request", *codes, *_ANY)


def made(schema: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a request that makes something."""
    return {201: _content(schema, "It is made.")} | problem_responses("invalid_request", *codes, *_ANY)


def body(schema: str, example: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The request body of a route that reads its body itself."""
    content = {"schema": {"$ref": _REF.format(name=schema)}, "examples": {"request": {"value": example}}}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def json_or_csv(schema: str, example: dict[str, Any], lines: str) -> dict[str, Any]:
    """The request body of a route that also takes a table as a file."""
    request = body(schema, example)
    request["requestBody"]["content"][CSV] = {
        "schema": {"type": "string"},
        "examples": {"request": {"value": lines}},
    }
    request["requestBody"]["content"] |= {
        name: {"schema": {"type": "string", "format": "binary"}} for name in BINARY
    }
    return request


def is_file(content_type: str) -> bool:
    """Whether the body is a file with a table: CSV, a workbook, or an archive of one."""
    return content_type.partition(";")[0].strip().lower() in FILES


def a_sheet(lines: str) -> dict[str, Any]:
    """The request body of a route that takes a table as a file."""
    content: dict[str, Any] = {CSV: {"schema": {"type": "string"}, "examples": {"request": {"value": lines}}}}
    content |= {name: {"schema": {"type": "string", "format": "binary"}} for name in BINARY}
    return {"requestBody": {"required": True, "content": content}}


def text(description: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a query that is answered with plain text."""
    response = {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {200: response} | problem_responses("invalid_request", *codes, *_ANY)


def page(schema: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a list, which goes both ways."""
    return _page(schema, ("next_cursor", "previous_cursor"), *codes)


def feed(schema: str, *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The responses of a list that only goes on."""
    return _page(schema, ("next_cursor",), *codes)


def _page(schema: str, cursors: Sequence[str], *codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    items = {"type": "array", "items": {"$ref": _REF.format(name=schema)}}
    cursor = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    body = {
        "type": "object",
        "required": ["items", *cursors],
        "properties": {"items": items} | dict.fromkeys(cursors, cursor),
    }
    response = {"description": "A page.", "content": {"application/json": {"schema": body}}}
    return {200: response} | problem_responses("invalid_request", *codes, *_ANY)


def problem_responses(*codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """Responses by status, with an example for each of these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        response = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}, "examples": {}}},
            },
        )
        if response["description"] != kind.title:
            response["description"] = "Refused; `code` says why."
        if kind.retry_after:
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        example = msgspec.to_builtins(problems.problem(code, "/v1/shops/100000001/orders/180831-481803633911509"))
        response["content"][problems.MEDIA_TYPE]["examples"][code] = {"value": example}
    return responses


_BODIES: tuple[type[msgspec.Struct], ...] = (
    AccessEventView,
    AddedClient,
    EnrolledShop,
    GrantRequest,
    IssuedKey,
    Me,
    NewClient,
    NewKeyRequest,
    PrincipalView,
    RotationRequest,
    ShopRequest,
    VisibleShop,
    ApplicationReport,
    BacktestJob,
    BacktestRequest,
    BillReport,
    CaseView,
    ConsistencyProof,
    DailyReport,
    Difference,
    UnmatchedCharge,
    DoubtfulShipment,
    FilledMessage,
    InclusionProof,
    Job,
    KeyInUse,
    ListedDeadline,
    ListedViolation,
    Message,
    OpenHandover,
    OrderDiff,
    OrderInCase,
    OrderSummary,
    OrderView,
    Parked,
    PenaltySum,
    Problem,
    Progress,
    Projection,
    RebuildRequest,
    RuleSet,
    SkuFacts,
    SkuView,
    StockoutApplications,
    StoredEventView,
    SupplierRecord,
    WayOut,
)
"""What the bodies of requests and responses hold, besides commands."""


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Add the commands and the structs' schemas to the document that FastAPI makes of the other routes."""
    of_other_routes = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = of_other_routes()
            for action in ACTIONS:
                schema["paths"][f"{ORDERS.path}/{action}"] = command_path_item(action)
            for action in SKU_ACTIONS:
                schema["paths"][f"{SKUS.path}/{action}"] = sku_command_path(action)
            commands = [action.command for table in (ACTIONS, SKU_ACTIONS) for action in table.values()]
            _, components = msgspec.json.schema_components([*commands, *_BODIES], ref_template=_REF)
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(components)
            _remove_other_errors(schema["paths"], schemas)
            _add_the_doors_refusals(schema["paths"])
            _add_what_is_needed(routers, schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _add_the_doors_refusals(paths: dict[str, Any]) -> None:
    """Every request may be refused at the door (``api.http.door``), whichever route would answer it."""
    for path in paths.values():
        for method, operation in path.items():
            of_pages: tuple[ProblemCode, ...] = () if method == "get" else ("cross_site",)
            refusals = problem_responses("ambiguous_request", "wrong_host", *of_pages)
            operation["responses"] |= {str(status): response for status, response in refusals.items()}


def _add_what_is_needed(routers: Sequence[APIRouter], schema: dict[str, Any]) -> None:
    """Declare the key, and the scopes of each operation, in the form that OpenAPI 3.1 has for roles."""
    schema.setdefault("components", {})["securitySchemes"] = {
        "ApiKey": {"type": "http", "scheme": "bearer", "description": "An API key of Shiplock."}
    }
    needed = {
        (route.path, method.lower()): [scope for scope in route.needed if isinstance(scope, str)]
        for router in routers
        for route in router.routes
        if isinstance(route, GuardedRoute) and OPEN not in route.needed
        for method in route.methods or ()
    }
    for target in (ORDERS, SKUS):
        needed |= {(f"{target.path}/{action}", "post"): sorted(ONE_OF[action]) for action in target.actions}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            scopes = needed.get((path, method))
            if scopes is None:
                continue
            operation["security"] = [{"ApiKey": [scope]} for scope in scopes] or [{"ApiKey": []}]
            codes: list[ProblemCode] = ["unauthenticated", "too_many_requests"]
            if scopes:
                codes.append("forbidden")
            if path.startswith("/v1/shops/{shop_id}"):
                codes.append("unknown_shop")
            _merge(operation["responses"], problem_responses(*codes))


def _merge(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    """Add responses; of a status that is there already only the examples."""
    for status, response in more.items():
        known = responses.setdefault(str(status), response)
        if known is not response:
            known["description"] = "Refused; `code` says why."
            known["content"][problems.MEDIA_TYPE]["examples"] |= response["content"][problems.MEDIA_TYPE][
                "examples"
            ]
            if "headers" in response:
                known.setdefault("headers", {}).update(response["headers"])


def _remove_other_errors(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Remove FastAPI's own description of invalid requests: every error here is a problem."""
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for path in paths.values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]


def _content(schema: str, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": _REF.format(name=schema)}}},
    }
