"""Pages of a list: how many items, the cursor that the next page begins behind, and the response."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi.responses import Response
from pydantic import Field

from api.http.problems import wrong
from api.http.requests import Parameters
from api.http.responses import json_response
from infrastructure.queries.paging import Page


class Paged(Parameters):
    limit: Annotated[int, Field(ge=1, le=500, description="Items a page.")] = 50
    cursor: Annotated[str | None, Field(max_length=1000, description="The `next_cursor` of the page before.")] = (
        None
    )


def encode_cursor(key: tuple[Any, ...] | None) -> str | None:
    """An opaque cursor for a page's last key."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: Any) -> Any:
    """The key of a cursor that ``encode_cursor`` made for the same list."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.msgpack.decode(raw, type=kind)
        if any(isinstance(part, str) and "\0" in part for part in key):
            raise ValueError("no text in the database holds a NUL")
        return key
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise wrong("cursor", "not a cursor of this list") from error


def page_response(page: Page[Any, Any]) -> Response:
    """The response of a list that is read page by page."""
    return listed(page.items, page.next_key)


def listed(items: Sequence[Any], next_key: tuple[Any, ...] | None = None) -> Response:
    """The response of a list: one page, and the cursor of the next if there is one."""
    return json_response({"items": items, "next_cursor": encode_cursor(next_key)})
