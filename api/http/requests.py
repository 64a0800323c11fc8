"""Reading what clients send: parameters, bodies and headers, all hostile until decoded."""

import hashlib
import re
from typing import TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from api.http.problems import FieldError, Refused, wrong
from api.wording import in_plain_words
from domain.kernel import ID_IN_WORDS, Command, is_id, is_identifier
from domain.rules.reading import InvalidRuleSet
from infrastructure.commands.intents import IdempotencyKey

T = TypeVar("T")

MAX_COMMAND_BYTES = 256 * 1024
MAX_BULK_BYTES = 8 * 1024 * 1024


class Parameters(BaseModel):
    """Query parameters. One that is not declared is refused: a mistyped filter must not look like none."""

    model_config = ConfigDict(extra="forbid")


async def read_body(receive: Receive, stated_length: str | None, limit: int) -> bytes:
    """The body, if it has at most ``limit`` bytes; never more than that is held."""
    too_large = Refused("too_large", f"The body may have at most {limit} bytes.")
    if stated_length and stated_length.isdigit() and int(stated_length) > limit:
        raise too_large
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        body += chunk
        if len(body) > limit:
            raise too_large
        if not message.get("more_body"):
            return body


async def body_of(request: Request, limit: int) -> bytes:
    """The same for a request of the framework."""
    return await read_body(request.receive, request.headers.get("content-length"), limit)


def decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """What a JSON body holds. Raises ``Refused`` naming the field that is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error) from error


def invalid(error: Exception, prefix: str = "#") -> Refused:
    """What a decoder complained of, as a problem that points at the field."""
    if isinstance(error, InvalidRuleSet):
        pointer, message = f"{prefix}/rules", str(error)
        return Refused("invalid_request", f"{pointer}: {message}", errors=[FieldError(pointer, message)])
    path, detail = in_plain_words(error)
    pointer = prefix + path
    return Refused("invalid_request", f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])


def fingerprint(of: str, action: str, command: Command) -> bytes:
    """What makes two requests the same request: the order or SKU, the action, and the command."""
    parts = b"\x00".join((of.encode(), action.encode(), msgspec.json.encode(command)))
    return hashlib.sha256(parts).digest()


def identifier(given: str, name: str) -> str:
    """A shop's id or an order's number from the path."""
    if is_id(given):
        return given
    raise wrong(name, ID_IN_WORDS, "path")


SLASH_OF_ID = "\x1f"
"""What stands in a path for a slash that belongs to an id. No id has this character itself."""


def sku_identifier(given: str) -> str:
    """A SKU's id from the path: merchants make up their own."""
    given = given.replace(SLASH_OF_ID, "/")
    if is_identifier(given):
        return given
    raise wrong("sku_id", "1 to 64 characters, none of them control characters", "path")


def claim(header: str | None) -> str | None:
    """Whom a client says that it acts for, by the header ``Shiplock-Actor``. It is his word; nobody checks it."""
    if not header:
        return None
    if _CLAIM.fullmatch(header):
        return header
    raise wrong("Shiplock-Actor", "at most 64 of 0-9 A-Z a-z . _ : -, such as a staff number", "header")


_CLAIM = re.compile(r"[0-9A-Za-z._:-]{1,64}")


def idempotency_key(
    header: str | None, principal_id: str, of: str, action: str, command: Command
) -> IdempotencyKey | None:
    """The key of an ``Idempotency-Key`` header, bare or as a quoted string, with the fingerprint of its request.

    Keys are of the client that sends them, whichever API key it uses. So two clients never meet.
    """
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255 or not key.isprintable():
        raise wrong("Idempotency-Key", "1 to 255 printable characters, bare or quoted", "header")
    return IdempotencyKey(f"{principal_id}/{key}", fingerprint(of, action, command))


def if_match(header: str | None) -> int | frozenset[int] | None:
    """The versions of an ``If-Match`` header; a tag that is none of ours matches no version.

    ``*`` means any version of an existing order. Every command but ``place`` needs an existing order anyway.
    """
    if header is None:
        return None
    tags = entity_tags(header)
    if "*" in tags:
        return None
    versions = [int(tag) if tag.isdecimal() and len(tag) < 10 else -1 for tag in tags]
    return versions[0] if len(versions) == 1 else frozenset(versions)


def entity_tags(header: str) -> list[str]:
    """The tags of ``If-Match`` or ``If-None-Match`` without quotes; ``*`` as it is. RFC 9110, 8.8.3."""
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",") if tag.strip()]
