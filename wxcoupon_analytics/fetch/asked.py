"""Whom a fetch asks: ids that were checked, counted, can be gone through again, and together say which fetch it is."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Self

import pandas as pd
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from wxcoupon_analytics.errors import ValidationError

_BLOCK_BYTES = 1 << 16
_DIGEST_BYTES = 16


def checked(name: str, values: Iterable[str]) -> Iterator[str]:
    """Give each id as it comes, refusing what would be asked wrongly."""
    if isinstance(values, str | bytes):
        raise ValidationError(f"{name} must be a list or a column of texts, not one text: write [{name.rstrip('s')}]")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            empty = isinstance(value, str) or (pd.api.types.is_scalar(value) and pd.isna(value))
            # Not the value itself: an openid may be in it.
            shown = "an empty value" if empty else f"a value of type {type(value).__name__}"
            raise ValidationError(
                f"{name} has {shown}; every one must be a non-empty text (ids read as numbers lose digits)"
            )
        yield value


def distinct(name: str, values: Iterable[str]) -> list[str]:
    """Give the distinct ids in their order."""
    return list(dict.fromkeys(checked(name, values)))


class Asked:
    """The openids of a fetch, checked to the last before the first is asked.

    Iterating goes through them in their order, duplicates included, as often as needed; one pass at a time. What can be
    gone through only once is kept aside on disk meanwhile, under a key that only this process has ever had.

    Parameters
    ----------
    openids : iterable of str
    stored_as : callable
        The form in which an openid may be written down.
    only : container of str, optional
        Of all these, ask only those whose stored form is in it.

    Attributes
    ----------
    count : int
        How many are asked, duplicates included.
    digest : str
        The same for the same openids in any order.
    """

    def __init__(
        self, openids: Iterable[str], *, stored_as: Callable[[str], str] = str, only: Container[str] | None = None
    ) -> None:
        self._stored_as, self._only = stored_as, only
        self._aside: _Aside | None = None
        passing = checked("openids", openids)
        # An iterator is its own iterator; a list, a column or a set starts anew each time.
        if not isinstance(openids, str | bytes) and iter(openids) is openids:
            self._aside = _Aside()
            passing = self._aside.keep(passing)
        self._openids = self._aside or openids
        self.count, total = 0, 0
        try:
            for openid in passing:
                stored = stored_as(_sound(openid))
                self.count += only is None or stored in only
                # A sum does not know the order of its terms; an exclusive or would forget whom it meets twice.
                total += int.from_bytes(hashlib.blake2b(stored.encode(), digest_size=_DIGEST_BYTES).digest())
        except BaseException:
            self.close()
            raise
        self.digest = f"{total % (1 << 8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"

    def __iter__(self) -> Iterator[str]:
        if self._only is None:
            return iter(self._openids)
        return (openid for openid in self._openids if self._stored_as(openid) in self._only)

    def known_as(self, stored: Container[str]) -> dict[str, str]:
        """Give, by their stored forms, the openids that have one of these; whether they are asked or not."""
        forms = ((self._stored_as(openid), openid) for openid in self._openids)
        return {form: openid for form, openid in forms if form in stored}

    def close(self) -> None:
        """Forget what was kept aside."""
        if self._aside:
            self._aside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Aside:
    """Texts in a nameless file, unreadable to whoever finds its blocks."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._cipher = Cipher(AES(os.urandom(32)), CTR(bytes(16)))

    def keep(self, texts: Iterator[str]) -> Iterator[str]:
        writer: CipherContext = self._cipher.encryptor()
        for text in texts:
            self._file.write(writer.update(json.dumps(text).encode() + b"\n"))
            yield text

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        reader, rest = self._cipher.decryptor(), b""
        while block := self._file.read(_BLOCK_BYTES):
            *lines, rest = (rest + reader.update(block)).split(b"\n")
            yield from map(json.loads, lines)

    def close(self) -> None:
        self._file.close()


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError("openids has half a surrogate pair, which no encoding can carry") from None
    return text
