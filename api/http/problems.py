"""Problems: what the API says when it says no (RFC 9457, ``application/problem+json``).

``PROBLEMS`` is the whole list; the same text is served at a problem's ``type``, in the OpenAPI document
and in ``docs/reference/problems.md``.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import quote

import msgspec
import psycopg
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from domain.kernel import RefusalCode
from domain.money.period import BadPeriod
from domain.order.view import AllowedAction, HoldView
from infrastructure.audit.archive import LogDiffers
from infrastructure.commands.intents import Contended, Overloaded, StillRunning, Unavailable
from infrastructure.files.lines import UnreadableSheet
from infrastructure.jobs.backtests import TooMany
from infrastructure.projections.builds import CannotDo
from infrastructure.queries.errors import (
    NotReached,
    QueryError,
    ReplayRunning,
    UnknownCase,
    UnknownOrder,
    UnknownSku,
    UnknownSupplier,
    WrongParameter,
)

log = logging.getLogger("shiplock.api")

MEDIA_TYPE = "application/problem+json"


ProblemCode = (
    RefusalCode
    | Literal[
        "ambiguous_request",
        "beyond_head",
        "cross_site",
        "forbidden",
        "internal_error",
        "log_differs",
        "method_not_allowed",
        "no_checkpoint",
        "not_covered",
        "not_found",
        "not_parked",
        "not_possible",
        "not_reached",
        "overloaded",
        "still_running",
        "too_large",
        "too_many_backtests",
        "too_many_requests",
        "unauthenticated",
        "unavailable",
        "unknown_action",
        "unknown_backtest",
        "unknown_case",
        "unknown_job",
        "unknown_key",
        "unknown_principal",
        "unknown_projection",
        "unknown_rebuild",
        "unknown_shop",
        "unknown_sku",
        "unknown_supplier",
        "wrong_host",
    ]
)
"""Every code of a problem: those of refused commands, and those of everything else."""


class ProblemKind(NamedTuple):
    """A kind of problem: its status, what is wrong, what to do next, and after how many seconds to try again."""

    status: int
    title: str
    advice: str
    retry_after: int | None = None


PROBLEMS: dict[ProblemCode, ProblemKind] = {
    "ambiguous_request": ProblemKind(
        400,
        "The request can be understood in two ways",
        "Nothing was changed. `detail` says what it has twice; send it once.",
    ),
    "wrong_host": ProblemKind(
        421,
        "The server is not known by this name",
        "Use `localhost`, or a name that the operator has put into SHIPLOCK_HOSTS.",
    ),
    "cross_site": ProblemKind(
        403,
        "A page of another site may change nothing",
        "Nothing was changed. The browser says that the request comes from a page of another site. Send it from a "
        "program, or from a page of this server.",
    ),
    "unauthenticated": ProblemKind(
        401,
        "The request has no valid key",
        "Send `Authorization: Bearer` with an API key. The first start wrote the owner's key to `owner.key` in the "
        "data folder; `shiplock access issue-key` makes others.",
    ),
    "unknown_shop": ProblemKind(
        404,
        "There is no such shop",
        "No shop of this id is known to the key. `shiplock access enrol` enrols a shop; GET /v1/shops lists those "
        "that the key may see.",
    ),
    "unknown_principal": ProblemKind(
        404, "There is no such client or person", "GET /v1/access/clients lists those that you manage."
    ),
    "unknown_key": ProblemKind(404, "There is no such key", "GET /v1/access/clients lists the keys of each."),
    "forbidden": ProblemKind(
        403,
        "The key may not do this here",
        "Nothing was changed. `detail` names the scope that is missing; GET /v1/me says what the key may do.",
    ),
    "too_many_requests": ProblemKind(
        429,
        "Too much was asked for",
        "Nothing was changed. Try again after `Retry-After` seconds.",
        1,
    ),
    "invalid_request": ProblemKind(
        422,
        "The request makes no sense",
        "Nothing was changed. `errors` names each field that is wrong and why; mend them and send it again.",
    ),
    "unknown_order": ProblemKind(
        404,
        "There is no such order",
        "The shop has no order of this number, or had none at the moment asked for. Place it first, or "
        "import the platform's export.",
    ),
    "unknown_sku": ProblemKind(
        404,
        "There is no such SKU",
        "No order of the shop names this SKU, and nothing was told of it. Count it with count-stock, or import "
        "the orders first.",
    ),
    "unknown_supplier": ProblemKind(
        404,
        "There is no such supplier",
        "No order of the shop was ever handed to it. GET /v1/shops/{shop_id}/suppliers lists those that were.",
    ),
    "unknown_case": ProblemKind(
        404, "There is no such stockout case", "GET /v1/shops/{shop_id}/stockout-cases lists the shop's cases."
    ),
    "unknown_action": ProblemKind(
        404,
        "There is no such action",
        "The last part of the path is none of the actions of orders or SKUs; the OpenAPI document lists them.",
    ),
    "not_found": ProblemKind(404, "There is nothing here", "Look at /docs for the paths there are."),
    "method_not_allowed": ProblemKind(
        405, "This method is not allowed here", "The `Allow` header names the methods that are."
    ),
    "order_locked": ProblemKind(
        409,
        "Shipping is locked",
        "A hold is in force, and while it is, no tracking number may be uploaded. `holds` says which, since "
        "when, and for a stockout review when the platform's decision can be expected. Wait for the "
        "decision and record it with complete-review, or release the hold that was placed by hand.",
    ),
    "already_shipped": ProblemKind(
        409,
        "The order is shipped already",
        "A tracking number is up. To put another in its place use replace-tracking; to send the order in "
        "several parcels say in `lines` what each holds.",
    ),
    "not_shippable": ProblemKind(
        409,
        "The order can't be shipped",
        "Its group has not formed yet, or it is closed: refunded, cancelled, or out of stock.",
    ),
    "nothing_to_withdraw": ProblemKind(
        409,
        "No import has closed or locked the order",
        "Only what imports brought can be taken back; read the order's events.",
    ),
    "not_shipped": ProblemKind(409, "The order is not shipped yet", "Upload a tracking number first."),
    "no_open_review": ProblemKind(
        409, "No stockout application is under review", "There is nothing to decide; it may be decided already."
    ),
    "review_already_open": ProblemKind(
        409, "An application is under review already", "Wait for its decision and record it with complete-review."
    ),
    "with_supplier": ProblemKind(
        409,
        "The order is with a supplier",
        "Record what became of it, or take it back with take-back-from-supplier, before another supplier has it.",
    ),
    "conditions_not_met": ProblemKind(
        409,
        "The platform would not take the application",
        "`detail` names each condition that is missed; delist the SKU first, or apply tomorrow. The rule set's "
        "`application.conditions` says whether such an application is refused here or only warned of.",
    ),
    "no_supplier": ProblemKind(
        409,
        "The order is with no supplier",
        "Read the order's `handovers`; hand it over with hand-to-supplier. Numbers of your own go up with "
        "upload-tracking.",
    ),
    "order_exists": ProblemKind(
        409, "The order was placed already, and differently", "Read it; an order's lines do not change."
    ),
    "order_closed": ProblemKind(
        409, "The order is closed", "It was refunded or cancelled, or its group failed; nothing more can be done."
    ),
    "group_already_formed": ProblemKind(
        409, "The group has formed already", "To move the platform's promise use change-ship-by."
    ),
    "already_paid": ProblemKind(409, "The order was paid already", "Read it to see with how much."),
    "not_paid": ProblemKind(409, "Nothing was paid yet", "There is nothing to refund; cancel the order instead."),
    "ship_by_passed": ProblemKind(
        409,
        "The ship-by has passed",
        "A buyer's agreement can move a ship-by that is still ahead, not one that was missed.",
    ),
    "already_delivered": ProblemKind(409, "The parcel was delivered", "Its tracking number stays."),
    "already_replaced": ProblemKind(409, "The number was replaced before", "Use a number the order has not had."),
    "which_parcel": ProblemKind(409, "The order has several parcels", "Say which one by its tracking number."),
    "unknown_parcel": ProblemKind(
        409, "The order has no such parcel", "Read the order to see its tracking numbers."
    ),
    "no_such_hold": ProblemKind(409, "No such hold is in force", "Read the order's `shipment_lock`."),
    "complaint_already_open": ProblemKind(409, "A complaint is open already", "Record its decision first."),
    "no_open_complaint": ProblemKind(409, "No complaint is open", "There is nothing to decide."),
    "unknown_violation": ProblemKind(
        409, "No such violation stands", "Read the order's `violations` for the ids that can be appealed."
    ),
    "already_appealed": ProblemKind(409, "The violation was appealed already", "A violation can be appealed once."),
    "appeal_too_late": ProblemKind(
        409,
        "It is too late to appeal",
        "The rule set's window is an estimate. Where the platform still takes the appeal, give its 申诉截止时间 "
        "as `appeal_by`.",
    ),
    "no_open_appeal": ProblemKind(409, "No such appeal is open", "There is nothing to decide."),
    "line_already_told": ProblemKind(
        409, "The bill's line was told already", "It said something else then. Give another line another `line_id`."
    ),
    "history_full": ProblemKind(
        409, "The order's history is full", "An order holds so many events at most; none is ever removed."
    ),
    "stale_version": ProblemKind(
        412,
        "The order or SKU has changed since",
        "Read it again, look whether the command still makes sense, resend.",
    ),
    "unknown_projection": ProblemKind(404, "There is no such projection", "GET /v1/projections lists them."),
    "unknown_rebuild": ProblemKind(
        404, "There is no such rebuild", "GET /v1/projections lists the builds of each."
    ),
    "unknown_backtest": ProblemKind(
        404, "There is no such backtest", "The shop's list has the latest; older ones go. Ask for it again."
    ),
    "too_many_backtests": ProblemKind(
        429, "Enough backtests wait or run", "Nothing was asked for. Try again after `Retry-After` seconds.", 5
    ),
    "unknown_job": ProblemKind(
        404, "There is no such job", "GET /v1/jobs lists them; those that finished long ago go."
    ),
    "not_possible": ProblemKind(
        409, "That can't be done to this projection now", "`detail` says why and what to do; nothing was changed."
    ),
    "not_parked": ProblemKind(404, "The order is not parked", "Nothing holds it up, or it was retried already."),
    "no_checkpoint": ProblemKind(
        404,
        "There is no such checkpoint",
        "The shop has none yet, or none of this size. One is made every few minutes while the log grows; "
        "without `size` the newest is taken.",
    ),
    "not_covered": ProblemKind(
        404,
        "The checkpoint does not reach that position",
        "The log has no such event, or it came after the checkpoint was made; ask again when there is a newer one.",
    ),
    "log_differs": ProblemKind(
        500,
        "The log is not the one that was signed",
        "No proof can be given. Keep the checkpoints you have and have the operator run `shiplock audit verify`.",
    ),
    "too_large": ProblemKind(413, "The request is too large", "Send fewer commands at once."),
    "idempotency_key_reused": ProblemKind(
        422,
        "The idempotency key was used for another request",
        "A key stands for one request for seven days. Use a new key for a new request.",
    ),
    "still_running": ProblemKind(
        409, "A request with this idempotency key is running", "Try again after `Retry-After` seconds.", 1
    ),
    "overloaded": ProblemKind(
        503, "Too much is waiting", "Nothing was changed. Try again after `Retry-After` seconds.", 1
    ),
    "beyond_head": ProblemKind(
        409,
        "The log does not reach that position",
        "You read another log, or this one before it was restored. Read it anew, from a position that it has.",
    ),
    "not_reached": ProblemKind(
        503,
        "The lists have not reached that position yet",
        "Try again after `Retry-After` seconds, or without `min_position`.",
        1,
    ),
    "unavailable": ProblemKind(
        503,
        "The database can't be reached",
        "Try again after `Retry-After` seconds. Whether a command was taken is not known; sent again with "
        "the same idempotency key it is done once.",
        2,
    ),
    "internal_error": ProblemKind(
        500, "Something went wrong here", "It was logged. Sent again with an idempotency key it is done once."
    ),
}


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field that makes no sense: a JSON pointer, where it was found, and what is wrong with it."""

    pointer: str
    detail: str
    found_in: str = msgspec.field(default="body", name="in")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """RFC 9457's members, ``code`` for programs, and what a refused command has to say of its order."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: tuple[FieldError, ...] | None = None
    order_status: str | None = None
    version: int | None = None
    allowed_actions: tuple[AllowedAction, ...] | None = None
    holds: tuple[HoldView, ...] | None = None
    judged_at: datetime | None = None
    retry_after: int | None = None


class Refused(Exception):
    """An error that clients get as a problem of this code."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors) or None
        self.headers = dict(headers or {})


def wrong(name: str, detail: str, found_in: str = "query") -> Refused:
    """A parameter, header or part of a body that makes no sense; without a name it is the body as a whole."""
    error = FieldError(f"#/{name}" if name else "#", detail, found_in)
    return Refused("invalid_request", f"{name}: {detail}" if name else detail, errors=[error])


_OF_QUERIES: dict[type[QueryError], ProblemCode] = {
    UnknownOrder: "unknown_order",
    UnknownSku: "unknown_sku",
    UnknownCase: "unknown_case",
    UnknownSupplier: "unknown_supplier",
    NotReached: "not_reached",
    ReplayRunning: "overloaded",
}
"""The problem that each error of a query is; a parameter that makes no sense is an invalid request."""

_IN_A_PATH = "/:@!$&'()*+,;=~"
"""What stands for itself in the path of a URI (RFC 3986)."""


def problem(
    code: ProblemCode,
    instance: str,
    detail: str | None = None,
    errors: tuple[FieldError, ...] | None = None,
    retry_after: int | None = None,
) -> Problem:
    kind = PROBLEMS[code]
    return Problem(
        type=f"/problems/{code}",
        title=kind.title,
        status=kind.status,
        detail=detail or kind.advice,
        instance=quote(instance, safe=_IN_A_PATH),
        code=code,
        errors=errors,
        retry_after=retry_after,
    )


def kind_of(code: str) -> ProblemKind | None:
    """The kind of problem of a code that may be none."""
    return cast(Mapping[str, ProblemKind], PROBLEMS).get(code)


def respond(body: Problem, headers: Mapping[str, str] | None = None) -> Response:
    kind = kind_of(body.code)
    sent = dict(headers or {})
    if seconds := body.retry_after or (kind.retry_after if kind else None):
        sent.setdefault("Retry-After", str(seconds))
    if body.status == 401:
        sent["WWW-Authenticate"] = 'Bearer realm="shiplock"'
    return Response(msgspec.json.encode(body), body.status, sent, MEDIA_TYPE)


def answer_to(error: Exception, method: str, path: str) -> Response:
    """Any error of the routes, of the framework or of the program itself, as a problem."""
    refusal = refused(error)
    if refusal is None:
        log.error("unexpected error at %s %s", method, path, exc_info=error)
        refusal = Refused("internal_error")
    return respond(problem(refusal.code, path, refusal.detail, refusal.errors), refusal.headers)


def refused(error: Exception) -> Refused | None:
    """What an error means to the client; ``None`` for one that nobody expected, which is a defect."""
    match error:
        case WrongParameter():
            return wrong(error.parameter, error.detail)
        case QueryError():
            return Refused(_OF_QUERIES[type(error)], str(error))
        case Refused():
            return error
        case RequestValidationError():
            errors = [_field_error(item) for item in error.errors()]
            detail = "; ".join(f"{item.pointer.removeprefix('#/')}: {item.detail}" for item in errors)
            return Refused("invalid_request", detail, errors=errors)
        case HTTPException():
            return Refused(_code_of_status(error.status_code), headers=error.headers)
        case BadPeriod():
            return wrong("from", str(error))
        case UnreadableSheet():
            return wrong("", str(error), "body")
        case Overloaded():
            return Refused("overloaded")
        case Contended():
            return Refused(
                "overloaded", "The order or SKU is changed by others faster than this command gets through."
            )
        case StillRunning():
            return Refused("still_running")
        case CannotDo():
            return Refused("not_possible", str(error))
        case TooMany():
            return Refused("too_many_backtests", str(error))
        case LogDiffers():
            return Refused("log_differs", str(error))
        case Unavailable() | psycopg.OperationalError() | psycopg.InterfaceError() | PoolTimeout():
            return Refused("unavailable")
        case _:
            return None


def _code_of_status(status: int) -> ProblemCode:
    """The code of an error that the framework raised."""
    match status:
        case 404:
            return "not_found"
        case 405:
            return "method_not_allowed"
        case 413:
            return "too_large"
        case _:
            return "invalid_request" if status < 500 else "internal_error"


def _field_error(item: dict[str, Any]) -> FieldError:
    place, *path = item["loc"] or ("body",)
    message = str(item["msg"]).removeprefix("Value error, ")
    return FieldError("#/" + "/".join(str(part) for part in path), message, str(place))
