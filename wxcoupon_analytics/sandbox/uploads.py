"""The one request that is no JSON: an image, in a multipart body of which only the ``meta`` part is signed.

The parser takes what RFC 7578 prescribes and no more: parts between delimiters, each with its headers, bytes as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.sandbox.refusals import RefusedError, param_error

_BOUNDARY = re.compile(r'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:\s*form-data\s*;(?:.*;)?\s*name="([^"]*)"', re.IGNORECASE)


def parts_of(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the parts of a multipart body by name; what is no multipart body has none."""
    declared = _BOUNDARY.match(content_type)
    if declared is None:
        return {}
    delimiter = b"\r\n--" + (declared[1] or declared[2]).encode("latin-1")
    found: dict[str, bytes] = {}
    for chunk in (b"\r\n" + body).split(delimiter)[1:]:
        if chunk.startswith(b"--"):
            return found
        head, _, content = chunk.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            found[name[1].decode("latin-1")] = content
    return {}  # the closing delimiter never came


def checked_image(meta: Mapping[str, Any], file: bytes | None) -> str:
    """Check that the file is the one its signed description means, and return its digest."""
    for name in ("filename", "sha256"):
        if not isinstance(meta.get(name), str) or not meta[name]:
            raise param_error(f"/meta/{name}", "required", value=meta.get(name))
    if not file:
        raise param_error("/file", "required")
    digest = hashlib.sha256(file).hexdigest()
    if meta["sha256"].lower() != digest:
        raise _other_file(meta["sha256"])
    return digest


def _other_file(claimed: str) -> RefusedError:
    message = "图片的SHA256摘要与meta中的sha256不一致"
    return param_error("/meta/sha256", "not the digest of the file", value=claimed, message=message)
