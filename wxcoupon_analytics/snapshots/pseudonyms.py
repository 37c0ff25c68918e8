"""Keyed hashes in place of people's ids: the same person is the same text everywhere, and only the key's holder can tell whom.

A pseudonym is ``p1_`` and the HMAC-SHA256 of the id under the key, in URL-safe Base64. What is one already stays as it is,
so that frames which came out of a store may go back into it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TEXT
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots.roots import OURS, Root

_CHECKS: Final = f"{OURS}/pseudonyms"
_SHORTEST: Final = 16
_MARK: Final = re.compile(r"[0-9a-f]{16}\.json")  # whatever else lies there is not ours
_PSEUDONYM: Final = re.compile(r"p1_[A-Za-z0-9_-]{43}")
# The columns that say who somebody is, and how such a field may be called in `extra`.
PERSONAL: Final = ("openid", "unionid", "phone_number")
_PERSONAL_FIELD: Final = re.compile(r"(open|union)_?id|phone_number", re.IGNORECASE)


class Pseudonyms:
    """What a store calls people: by a keyed hash, or, without a key, as they are called.

    Raises
    ------
    ValidationError
        When the key is too short to hide anyone behind it.
    """

    def __init__(self, root: Root, key: bytes | str | None) -> None:
        self._root = root
        self._key = key.encode() if isinstance(key, str) else key
        self._checked = False
        if self._key is not None and len(self._key) < _SHORTEST:
            raise ValidationError(
                f"the key to pseudonymize with has {len(self._key)} bytes, and whoever has a list of openids could find it"
                f" by trying: give {_SHORTEST} or more, secrets.token_bytes(32)"
            )

    def __repr__(self) -> str:
        return f"<Pseudonyms: {'a keyed hash' if self.keyed else 'none'}>"

    @property
    def keyed(self) -> bool:
        """Whether there is a key."""
        return self._key is not None

    def of(self, identity: str) -> str:
        """Give what someone is called in the store."""
        if self._key is None or _PSEUDONYM.fullmatch(identity):
            return identity
        hashed = hmac.digest(self._key, identity.encode(), "sha256")
        return "p1_" + base64.urlsafe_b64encode(hashed).decode().rstrip("=")

    def check(self, *, empty: Callable[[], bool]) -> None:
        """Refuse to write what would not go with what is there, and leave a mark of the key in a new store.

        Raises
        ------
        SnapshotError
            When the store was written with another key, with one and there is none now, or the other way round.
        """
        if self._checked:
            return
        marks = self._marks()
        if self._key is None:
            if marks:
                raise SnapshotError(
                    f"{self._root.shown} holds pseudonyms: to write to it, open it with the key they were made with,"
                    " SnapshotStore(…, pseudonymize=key). Reading needs none."
                )
        else:
            mark = hashlib.sha256(hmac.digest(self._key, b"wxcoupon_analytics.snapshots", "sha256")).hexdigest()[:16]
            if not marks:
                if not empty():
                    raise SnapshotError(
                        f"{self._root.shown} holds openids as they are: one store cannot have both. Begin another one for"
                        f" pseudonyms. (If it held pseudonyms, its {_CHECKS} was not copied with it: copy that too.)"
                    )
                self._root.put(f"{_CHECKS}/{mark}.json", lambda sink: sink.write(_SCHEME))
                marks = self._marks()  # another process may have begun with another key
            if marks != {mark}:
                raise SnapshotError(
                    f"{self._root.shown} holds pseudonyms made with another key: the same person would be two. Open it"
                    " with the key it was begun with."
                )
        self._checked = True

    def applied(self, table: pa.Table) -> pa.Table:
        """Put pseudonyms wherever a frame names someone, its texts and lists included."""
        if self._key is None or not len(table):
            return table
        given = {name: table[name] for name in PERSONAL if name in table.column_names}
        suspects = self._suspects(table, given)
        for name, ids in given.items():
            table = table.set_column(table.column_names.index(name), name, self._mapped(ids))
        if not len(suspects):
            return table
        cleaned = []
        for n, row in zip(suspects.tolist(), table.take(suspects).to_pylist(), strict=True):
            names = {ids[n].as_py(): row[name] for name, ids in given.items() if ids[n].as_py()}
            cleaned.append({name: self._cleaned(name, value, names) for name, value in row.items()})
        others = np.setdiff1d(np.arange(len(table)), suspects)
        mended = pa.concat_tables([table.take(others), pa.Table.from_pylist(cleaned, schema=table.schema)])
        return mended.take(np.argsort(np.concatenate([others, suspects])))

    def _marks(self) -> set[str]:
        names = (path.rpartition("/")[2] for path in self._root.files(_CHECKS))
        return {name.removesuffix(".json") for name in names if _MARK.fullmatch(name)}

    def _mapped(self, ids: pa.ChunkedArray) -> pa.Array:
        coded = ids.combine_chunks().dictionary_encode()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.combine_chunks()
        names = pa.array([None if i is None else self.of(i) for i in coded.dictionary.to_pylist()], TEXT)
        return names.take(coded.indices)

    def _suspects(self, table: pa.Table, given: Mapping[str, pa.ChunkedArray]) -> np.ndarray:
        """Find the rows in which other columns may name someone: few, and none of most fetches."""
        texts = [
            f'CAST("{field.name}" AS VARCHAR)'
            for field in table.schema
            if field.name not in given and (pa.types.is_string(field.type) or pa.types.is_nested(field.type))
        ]
        said = f"concat_ws(chr(31), {', '.join(texts)})"
        named = [f"coalesce(contains({said}, nullif(\"{name}\", '')), false)" for name in given]
        if "extra" in table.column_names:
            named.append(f"coalesce(regexp_matches(extra, '{_PERSONAL_FIELD.pattern}', 'i'), false)")
        if not named:
            return np.empty(0, "int64")
        numbered = table.append_column("#row", pa.array(np.arange(len(table))))
        with duckdb.connect() as connection:
            connection.register("given", numbered)
            found = connection.sql(f'SELECT "#row" FROM given WHERE {" OR ".join(named)} ORDER BY 1').to_arrow_table()  # noqa: S608
        rows: np.ndarray = found["#row"].to_numpy()
        return rows

    def _cleaned(self, name: str, value: Any, names: Mapping[str, str]) -> Any:
        if name in PERSONAL:
            return value
        if name == "extra" and value is not None:
            return json.dumps(self._inside(json.loads(value), names), ensure_ascii=False)
        return self._inside(value, names)

    def _inside(self, value: Any, names: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            for identity, pseudonym in names.items():
                value = value.replace(identity, pseudonym)
            return value
        if isinstance(value, list):
            return [self._inside(inner, names) for inner in value]
        if isinstance(value, dict):
            return {
                name: self.of(inner)
                if isinstance(inner, str) and _PERSONAL_FIELD.search(name)
                else self._inside(inner, names)
                for name, inner in value.items()
            }
        return value


_SCHEME: Final = b'{"scheme": "p1_ + base64url(HMAC-SHA256(key, id))"}\n'
