"""Pages of a list: how many items, the cursor that a page begins at, and the response."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi.responses import Response
from pydantic import Field

from api.http.problems import wrong
from api.http.requests import Parameters
from api.http.responses import json_response
from infrastructure.queries import paging
from infrastructure.queries.paging import Cursor, Page, encode_cursor


class Paged(Parameters):
    limit: Annotated[int, Field(ge=1, le=500, description="Items a page.")] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=1000, description="The `next_cursor` or the `previous_cursor` of a page."),
    ] = None


def decode_cursor(text: str | None, key: Any) -> Cursor[Any] | None:
    """The cursor of a list with keys of this type."""
    try:
        return paging.decode_cursor(text, key)
    except ValueError as error:
        raise wrong("cursor", str(error)) from error


def page_response(page: Page[Any, Any]) -> Response:
    """The response of a list: one page, and the cursors of those behind and before it, if there are any."""
    return json_response(
        {
            "items": page.items,
            "next_cursor": encode_cursor(page.next),
            "previous_cursor": encode_cursor(page.previous),
        }
    )


def listed(items: Sequence[Any]) -> Response:
    """The response of a list that is one page."""
    return page_response(Page(list(items), None))
