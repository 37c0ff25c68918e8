"""From an operation and its arguments to the bytes on the wire; the one place where brand and partner calls differ."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import TransportError, ValidationError
from wxcoupon_analytics.wire.endpoints import ENDPOINTS, MAX_PAGE_SIZE, PREFIXES, Endpoint
from wxcoupon_analytics.wire.validation import check

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it will be sent, on every attempt the same bytes: all that changes is its signature.

    ``given`` are the texts it was asked with, ``expected`` those of them that the answer must repeat. ``signed`` are the
    bytes that stand for the body in the signature where those are not the body.
    """

    endpoint: Endpoint
    target: str = field(repr=False)  # holds openids
    body: bytes = field(repr=False)
    given: Mapping[str, str] = field(repr=False)
    expected: Mapping[str, str] = field(repr=False)
    content_type: str = JSON
    signed: bytes | None = None

    @property
    def is_write(self) -> bool:
        """Whether asking changes something."""
        return self.endpoint.method != "GET"

    @property
    def request_no(self) -> str | None:
        """The number that makes it the same write when it is repeated."""
        return self.given.get(self.endpoint.request_no or "")


def ask(
    credentials: Credentials,
    name: str,
    path: Mapping[str, str],
    *,
    query: Mapping[str, str | int | None] | None = None,
    body: Mapping[str, Any] | None = None,
    strict_enums: bool = True,
) -> Question:
    """Turn an operation and its arguments into the bytes that go on the wire, held against the documented rules.

    Fields of a body that are None are left out.

    Raises
    ------
    ValidationError
        The flavour has no such endpoint, an id is empty, a query parameter is missing or unknown, a write breaks the
        rules of its page, or the body is not JSON.
    """
    endpoint = ENDPOINTS[name]
    if credentials.flavour not in endpoint.flavours:
        raise ValidationError(
            f"{name} ({endpoint.label}) is for {' and '.join(endpoint.flavours)} credentials only; these are {credentials.flavour}"
        )
    asked = _query(endpoint, query or {})
    content = _without_none(body or {})
    if endpoint.method != "GET":
        check(name, path, content, flavour=credentials.flavour, strict_enums=strict_enums)
    if credentials.flavour == "partner" and endpoint.names_brand:
        if endpoint.method == "GET":
            asked["brand_id"] = credentials.brand_id
        elif (brand_id := content.get("brand_id", credentials.brand_id)) != credentials.brand_id:
            raise ValidationError(
                f"the body's brand_id is {brand_id!r}, but the credentials act for {credentials.brand_id!r}"
            )
        else:
            content = {"brand_id": brand_id, **content}
    target = PREFIXES[credentials.flavour] + re.sub(r"{(\w+)}", lambda m: _segment(m[1], path.get(m[1])), endpoint.path)
    if asked:
        target += "?" + "&".join(f"{k}={quote(str(v), safe='')}" for k, v in asked.items())
    given = {k: v for k, v in {**content, **asked, **path}.items() if isinstance(v, str)}
    expected = {e: given[last] for e in endpoint.echoes if (last := e.rpartition(".")[2]) in given}
    return Question(endpoint, target, b"" if endpoint.method == "GET" else _encoded(name, content), given, expected)


def ask_upload_image(credentials: Credentials, filename: str, content: bytes) -> Question:
    """Ask for an image to be uploaded: multipart, of which only the ``meta`` part is signed."""
    meta = {"filename": filename, "sha256": hashlib.sha256(content).hexdigest()}
    question = ask(credentials, "upload_image", {}, body=meta)
    kind = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "bmp": "bmp"}.get(filename.rpartition(".")[2].lower())
    if kind is None or not content or not filename.isascii() or '"' in filename:
        raise ValidationError(
            f"an image is a non-empty .jpg, .jpeg, .png or .bmp with a plain ASCII name, not {filename!r}"
        )
    boundary = secrets.token_hex(16)
    parts = (
        ('form-data; name="meta"', JSON, question.body),
        (f'form-data; name="file"; filename="{filename}"', f"image/{kind}", content),
    )
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: {mime}\r\n\r\n".encode() + part + b"\r\n"
        for disposition, mime, part in parts
    )
    return replace(
        question,
        body=body + f"--{boundary}--\r\n".encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
        signed=question.body,
    )


def ask_for_proof(credentials: Credentials, question: Question) -> Question | None:
    """Ask whether a write happened; None when no read shows it."""
    if question.endpoint.proof is None:
        return None
    name, _ = question.endpoint.proof
    read = ENDPOINTS[name]
    query: dict[str, str | int | None] = {
        q: question.given.get(q)
        for q in (q.removesuffix("*") for q in read.query)
        if q in ("appid", "product_coupon_id", "stock_id")
    }
    if read.items:
        query["page_size"] = MAX_PAGE_SIZE
    return ask(credentials, name, question.given, query=query)


def shows(question: Question, entity: Mapping[str, Any]) -> bool:
    """Whether an entity, as read back, carries the request number of a write."""
    assert question.endpoint.proof is not None
    return any(question.request_no in _all_at(entity, dotted.split(".")) for dotted in question.endpoint.proof[1])


def next_page(question: Question, page: Mapping[str, Any], seen: set[str]) -> Question | None:
    """Give the question for the page after this one, or None at the end of the list.

    ``seen`` collects the tokens followed so far: one that comes twice would go round for ever.
    """
    token = page.get("next_page_token")
    if not token:
        return None
    if not isinstance(token, str) or token in seen:
        raise TransportError(f"{question.endpoint.name}: a page token came a second time, so the list would never end")
    seen.add(token)
    base = re.sub(r"[?&]page_token=[^&]*$", "", question.target)
    return replace(question, target=f"{base}{'&' if '?' in base else '?'}page_token={quote(token, safe='')}")


def mismatch(question: Question, answer: Mapping[str, Any]) -> str | None:
    """Name the first field in which an answer is not about what was asked."""
    return next((dotted for dotted, wanted in question.expected.items() if _at(answer, dotted) != wanted), None)


def stranger(question: Question, page: Mapping[str, Any]) -> str | None:
    """Name the first thing asked for that a row of a page is not of."""
    rows = page.get(question.endpoint.items or "") or []
    for asked, dotted in question.endpoint.rows:
        if asked in question.given and any(_at(row, dotted) != question.given[asked] for row in rows):
            return asked
    return None


def _at(entity: Mapping[str, Any], dotted: str) -> Any:
    found: Any = entity
    for step in dotted.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _all_at(value: Any, steps: list[str]) -> list[Any]:
    """Give what stands at a path, in every element where a list is on the way."""
    if isinstance(value, list):
        return [found for element in value for found in _all_at(element, steps)]
    if not steps:
        return [value]
    return _all_at(value.get(steps[0]), steps[1:]) if isinstance(value, Mapping) else []


def _query(endpoint: Endpoint, query: Mapping[str, str | int | None]) -> dict[str, str | int]:
    """Hold query parameters against the table; those that are None are not sent."""
    given = {k: v for k, v in query.items() if v is not None}
    known = {q.removesuffix("*"): q.endswith("*") for q in endpoint.query}
    if unknown := given.keys() - known.keys():
        raise ValidationError(
            f"{endpoint.name} has no query parameter {', '.join(sorted(unknown))}; it takes {', '.join(known) or 'none'}"
        )
    for name, value in given.items():
        if name == "page_size":
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PAGE_SIZE:
                raise ValidationError(f"page_size is a whole number from 1 to {MAX_PAGE_SIZE}, not {value!r}")
        elif not isinstance(value, str):
            raise ValidationError(f"{name} must be a text, not {type(value).__name__}")
    if missing := [q for q, required in known.items() if required and not given.get(q)]:
        raise ValidationError(f"{endpoint.name} needs {', '.join(missing)}")
    return given


def _segment(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValidationError(
            f"{name} must be a non-empty text, not {value!r}"
            if value is None or value == ""
            else f"{name} must be a text, not {type(value).__name__}: ids keep their leading zeros only as text"
        )
    try:
        # A lone dot or two would be taken for a folder and normalised away by any proxy.
        return value.replace(".", "%2E") if value in (".", "..") else quote(value, safe="")
    except UnicodeEncodeError:
        raise ValidationError(f"{name} holds half a surrogate pair, which no encoding can carry") from None


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list | tuple) else value


def _encoded(name: str, content: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"the body of {name} is not JSON: {error}") from error
