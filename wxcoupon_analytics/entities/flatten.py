"""From the bytes of an answer to a frame.

The work is Arrow's. Pages go, sixty-four at a time, as bytes into ``pyarrow.json`` with the declared schema and *no*
unknown field allowed; the list is exploded, the structs are flattened, the times are cast, all in C++. A batch that
Arrow refuses is tried page by page, and a page that is refused alone has drifted: it takes the exact path
(:mod:`wxcoupon_analytics.entities.fitting`), and no other page does.

Nine tenths of a user coupon's bytes are echoes of its stock and product coupon, the same few over and over. An echo
that was seen before is recognised by comparing memory, and cut down to its ids before anything parses it; so the strict
reading above, which finds unknown fields for nothing, is paid for the tenth that is the coupon's own.
"""

from __future__ import annotations

import datetime as dt
import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from wxcoupon_analytics.entities.casting import cast_nested
from wxcoupon_analytics.entities.doubles import doubled
from wxcoupon_analytics.entities.echoes import ID_FIELDS, Shortener, ids_of
from wxcoupon_analytics.entities.fields import Field
from wxcoupon_analytics.entities.fitting import NOTHING, fitter
from wxcoupon_analytics.entities.payloads import answers, decoded, read_json, write_json
from wxcoupon_analytics.entities.schemas import (
    ENTITIES,
    NUMBER,
    TEXT,
    TIME,
    Entity,
    beijing_day,
    field_type,
    lookup,
    to_frame,
    to_table,
)
from wxcoupon_analytics.errors import ValidationError

__all__ = ["Page", "SchemaDriftWarning", "flatten", "flatten_pages", "to_frame", "to_table"]

_PAGES_AT_ONCE: Final = 64


class SchemaDriftWarning(UserWarning):
    """The API sent a field, or a kind of value, that the schema does not declare; it is kept in ``extra``.

    Once per field and process. Nothing needs doing; a newer release may give the field a column. Only what stands beside
    the list of a page belongs to no row and is not kept: the warning says so.
    """


@dataclass(frozen=True, slots=True)
class Page:
    """One answer, list page or single entity, with what only the question knew."""

    content: bytes
    fetched_at: dt.datetime | None
    brand_id: str | None
    openid: str | None = None
    appid: str | None = None


def flatten(
    entity: str,
    payload: Any,
    *,
    brand_id: str | None = None,
    openid: str | None = None,
    appid: str | None = None,
    fetched_at: dt.datetime | None = None,
) -> pd.DataFrame:
    """Turn answers of the API into the entity's frame.

    Parameters
    ----------
    entity : str
        ``product_coupons``, ``stocks`` or ``user_coupons``.
    payload : bytes, str, dict, or a list of these
        One entity, one page (known by its ``stock_list``, ``user_coupon_list`` or ``user_product_coupon_list``), or a
        list of either. For ``stocks`` and ``product_coupons`` also answers about user coupons: of the entities nested in
        them, which are echoes and may be stale, the last of each is taken out, unless an answer about it is there too.
    brand_id, openid, appid : str, optional
        What was asked with; a ``brand_id`` in the answer itself wins.
    fetched_at : datetime, optional
        When the platform answered; must be timezone-aware.

    Returns
    -------
    DataFrame
        Every column of :func:`~wxcoupon_analytics.entities.schemas.describe`, in its order and dtype. ``extra`` holds,
        as JSON text and nested as they came, the fields the schema does not know and the values that do not fit their
        column; the column is then null. In a list, what fits stays in the column and the rest stands at the same
        place of the list in ``extra``. A value is coerced when that loses nothing (``"100"`` for a number). A key
        that is sent twice counts with its last value; the earlier ones are in ``extra`` as ``key#1``, ``key#2``.

    Raises
    ------
    ValidationError
        When the payload is not JSON, or neither an object nor a list of objects, or ``fetched_at`` is naive.

    Warns
    -----
    SchemaDriftWarning
        Once per field and process, when something went to ``extra``.

    Examples
    --------
    >>> stocks = flatten("stocks", '{"stock_list": [{"stock_id": "1", "sent_count_info": {"total_count": 42}}]}')
    >>> stocks["stock_id"].tolist(), stocks["sent_count_info_total_count"].tolist()
    (['1'], [42])
    """
    schema = lookup(entity)

    def read(contents: Iterable[bytes]) -> pa.Table:
        return flatten_pages(entity, (Page(content, fetched_at, brand_id, openid, appid) for content in contents))

    own: list[bytes] = []
    echoed: list[bytes] = []
    for content in answers(payload):
        of_its_own, echoes = _sorted_out(schema, content)
        own += of_its_own
        echoed += echoes
    rows = read(own)
    if echoed:
        # What was asked for is later than any echo of it, whenever that came; of the echoes, the last counts.
        echo_rows = read(echoed)
        stale = doubled(schema, pa.concat_tables([echo_rows, rows]))[: len(echo_rows)]
        rows = pa.concat_tables([rows, echo_rows.filter(pc.invert(stale))])
    return to_frame(entity, rows)


def flatten_pages(entity: str, pages: Iterable[Page]) -> pa.Table:
    """Turn many answers into one Arrow table of the entity's declared schema.

    What :func:`flatten` does for a notebook, for the bulk path: rows in the order of the pages, memory for the rows and
    for sixty-four pages at a time.

    Raises
    ------
    ValidationError
        When a page is not JSON, or is neither an object nor a list, or its time is naive.
    """
    schema = lookup(entity)
    reader = _Reader(schema)
    rest = iter(pages)
    tables = []
    while batch := list(itertools.islice(rest, _PAGES_AT_ONCE)):
        tables.append(reader.read(batch))
    reader.warn()
    return pa.concat_tables(tables) if tables else schema.arrow.empty_table()


# --- the fast path ---------------------------------------------------------------------------------------------------


class _Text(NamedTuple):
    """An answer, and the same with so many echoes cut short."""

    whole: str
    short: str
    cuts: int = 0


class _Reader:
    """Reads batches of answers of one entity."""

    def __init__(self, schema: Entity) -> None:
        self.schema = schema
        self.shortener = Shortener()
        self.page_field = schema.page_field
        self.declared = {inner.name for inner in schema.fields} | schema.apart
        self.fitter = fitter(pa.struct([(inner.name, field_type(inner)) for inner in schema.fields]))
        envelope = [(_PLACE, NUMBER), ("total_count", NUMBER), ("next_page_token", TEXT)]
        self.parsing = pj.ParseOptions(
            explicit_schema=pa.schema([*envelope, (self.page_field, pa.list_(schema.as_sent))]),
            unexpected_field_behavior="error",
        )
        self.drift: set[str] = set()
        self.beside: set[str] = set()
        self.all_drifted = False

    def read(self, pages: Sequence[Page]) -> pa.Table:
        texts = [self._text(page) for page in pages]
        try:
            rows = self._strictly([text.short for text in texts], range(len(pages)))
        except (pa.ArrowInvalid, _DriftedError):
            rows = self._one_by_one(texts)
        return self._with_context(rows, pages)

    def warn(self) -> None:
        """Say once a process what the schema does not know."""
        name = self.schema.name
        for path in sorted(self.drift):
            self._warn_of(
                path,
                f"the API answered with {path!r} in {name}, which the schema does not declare or not as this kind of"
                " value; it is kept in the column 'extra'",
            )
        for path in sorted(self.beside):
            self._warn_of(
                f"(page) {path}",
                f"the API answered with {path!r} beside the list of {name}, which the schema does not declare; it"
                " belongs to no row and was not kept",
            )

    def _warn_of(self, path: str, message: str) -> None:
        if (self.schema.name, path) not in _warned:
            _warned.add((self.schema.name, path))
            warnings.warn(message, SchemaDriftWarning, stacklevel=6)

    def _text(self, page: Page) -> _Text:
        if page.fetched_at is not None and page.fetched_at.tzinfo is None:
            raise ValidationError(f"fetched_at has no time zone: {page.fetched_at!r}; use ZoneInfo('Asia/Shanghai')")
        text = decoded(page.content).strip(_WHITESPACE)
        return _Text(text, *self.shortener.shorten(text)) if self.schema.name == "user_coupons" else _Text(text, text)

    def _strictly(self, texts: Sequence[str], places: Iterable[int]) -> pa.Table:
        """Read answers as they should be; each carries its place, so that none can pass for two or for half of one."""
        lines = []
        singles = []
        for place, text in zip(places, texts, strict=True):
            # No quote, no field: an empty object, or nothing Arrow should see (its reader crashes on a lone null).
            if text[:1] != "{" or '"' not in text:
                raise _DriftedError
            if f'"{self.page_field}"' in text:
                lines.append(f'{{"{_PLACE}":{place},{text[1:]}')
            else:
                lines.append(f'{{"{_PLACE}":{place},"{self.page_field}":[{text}]}}')
                singles.append(len(lines) - 1)
        content = "\n".join(lines).encode()
        whole = pj.ReadOptions(use_threads=False, block_size=len(content) + 1)
        answers = pj.read_json(pa.BufferReader(content), whole, self.parsing).combine_chunks()
        if answers[_PLACE].to_pylist() != list(places):
            raise _DriftedError
        lists = answers[self.page_field].combine_chunks()
        if singles and pc.any(pc.not_equal(lists.value_lengths().take(singles), 1)).as_py():
            raise _DriftedError
        entities = lists.flatten()
        if entities.null_count:
            raise _DriftedError
        parents = answers[_PLACE].combine_chunks().take(pc.list_parent_indices(lists))
        return self._columns(entities, parents, pa.nulls(len(entities), TEXT))

    def _one_by_one(self, texts: Sequence[_Text]) -> pa.Table:
        if self.all_drifted:
            return self._exactly(texts, range(len(texts)))
        parts = []
        drifted = []
        for place, text in enumerate(texts):
            try:
                parts.append(self._strictly([text.short], [place]))
            except (pa.ArrowInvalid, _DriftedError):
                drifted.append(place)
        parts.append(self._exactly([texts[place] for place in drifted], drifted))
        # When the API has changed for good, the next batch that is refused need not be tried page by page.
        self.all_drifted = len(drifted) == len(texts)
        rows = pa.concat_tables(parts)
        return rows if self.all_drifted else rows.take(pc.sort_indices(rows[_PLACE]))

    def _exactly(self, texts: Sequence[_Text], places: Iterable[int]) -> pa.Table:
        """Read answers one value at a time; what does not fit is left over and kept."""
        fitted, parents, extras = [], [], []
        for place, text in zip(places, texts, strict=True):
            for entity in self._read(text):
                if entity is None:
                    continue
                fits, left = self.fitter.fit(self._own(entity))
                fitted.append(fits)
                parents.append(place)
                extras.append(self._kept(left))
        nested = pa.array(fitted, self.schema.as_sent)
        return self._columns(nested, pa.array(parents, NUMBER), pa.array(extras, TEXT))

    def _read(self, text: _Text) -> list[Any]:
        """Read the entities of an answer, from the short text if nothing was cut but echoes where echoes belong."""
        if text.cuts and _ESCAPED_ASCII not in text.short:
            entities = self._entities(read_json(text.short))
            objects = [entity for entity in entities if isinstance(entity, dict)]
            if text.cuts == sum(isinstance(entity.get(name), dict) for entity in objects for name in ID_FIELDS):
                return entities
        return self._entities(read_json(text.whole))

    def _entities(self, answer: Any) -> list[Any]:
        """List the entities of an answer: those of a page, or the answer itself."""
        if not isinstance(answer, dict):
            raise ValidationError(f"an answer is an object or a page, not {type(answer).__name__}: {answer!r:.60}")
        lists = {name: answer[name] for name in _LISTS & answer.keys() if isinstance(answer[name], list | None)}
        ours = [name for name in (self.page_field, *self.schema.other_lists) if name in lists]
        # A page without members may come without its list, and the page of something else holds no member at all.
        if not ours and (answer.keys() & self.declared or not (lists or answer.keys() & _ENVELOPE)):
            return [answer] if answer else []
        self.beside |= answer.keys() - lists.keys() - _ENVELOPE
        return [entity for name in ours for entity in lists[name] or ()]

    def _own(self, entity: Any) -> Any:
        """Take away what is another entity's: all but the ids of an echo, all of what stands apart."""
        if not isinstance(entity, dict):
            return entity
        for name in self.schema.apart & entity.keys():
            if isinstance(entity[name], dict):
                del entity[name]
        for name in ID_FIELDS if self.schema.name == "user_coupons" else ():
            if isinstance(echo := entity.get(name), dict):
                entity[name] = ids_of(name, echo)
        return entity

    def _kept(self, left: Any) -> str | None:
        if left is NOTHING:
            return None
        self.drift.update(self.fitter.paths(left))
        return write_json(left)

    def _columns(self, entities: pa.StructArray, parents: pa.Array, extra: pa.Array) -> pa.Table:
        columns = dict(_leaves(entities, self.schema.fields))
        for name, inner in columns.items():
            if name in self.schema.names and inner.type != (declared := self.schema.arrow.field(name).type):
                columns[name] = cast_nested(inner, declared)
        return pa.table({**columns, "extra": extra, _PLACE: parents})

    def _with_context(self, rows: pa.Table, pages: Sequence[Page]) -> pa.Table:
        places = rows[_PLACE]
        columns = {name: rows[name] for name in rows.column_names}

        def asked(values: Iterable[Any], type_: pa.DataType) -> pa.ChunkedArray:
            return pa.array(values, type_).take(places)

        columns["brand_id"] = pc.coalesce(columns["brand_id"], asked((page.brand_id for page in pages), TEXT))
        columns["fetched_at"] = asked((page.fetched_at for page in pages), TIME)
        columns["fetched_day"] = beijing_day(columns["fetched_at"])
        if self.schema.name == "user_coupons":
            columns["openid"] = asked((page.openid for page in pages), TEXT)
            columns["appid"] = asked((page.appid for page in pages), TEXT)
            columns["stock_id"] = columns["stock_stock_id"]
            columns["product_coupon_id"] = pc.coalesce(
                columns["product_coupon_product_coupon_id"], columns["stock_product_coupon_id"]
            )
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema.arrow)


class _DriftedError(Exception):
    """An answer that the strict reading must not take."""


# The field that carries an answer's place in its batch through the JSON reader; no API field is called that.
_PLACE: Final = "#"
# What a page carries beside its list; a bundle's answer is a page of its stocks.
_ENVELOPE: Final = frozenset({"total_count", "next_page_token", "stock_bundle_id", "user_coupon_bundle_id"})
_LISTS: Final = frozenset(name for entity in ENTITIES.values() for name in (entity.page_field, *entity.other_lists))
_WHITESPACE: Final = " \t\r\n"
# How JSON may hide an echo's name from the shortener.
_ESCAPED_ASCII: Final = "\\u00"
_warned: set[tuple[str, str]] = set()


def _leaves(array: pa.StructArray, fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, pa.Array]]:
    """Name the leaves of nested structs; a parent that is null makes its leaves null."""
    for inner, values in zip(fields, array.flatten(), strict=True):
        if inner.kind == "group":
            yield from _leaves(values, inner.fields, f"{prefix}{inner.name}_")
        else:
            yield f"{prefix}{inner.name}", values


# --- entities nested in other answers --------------------------------------------------------------------------------

_ECHOED_AS: Final = {"product_coupons": "product_coupon", "stocks": "stock"}
_CREATED_AS: Final = {"product_coupons": ("product_coupon",), "stocks": ("stock", "stock_bundle")}
_COUPONS: Final = ENTITIES["user_coupons"]


def _sorted_out(schema: Entity, content: bytes) -> tuple[list[bytes], list[bytes]]:
    """Give what an answer says of an entity on its own account, and what it only echoes of it."""
    echo = _ECHOED_AS.get(schema.name)
    answer = read_json(decoded(content)) if echo else None
    if echo is None or not isinstance(answer, dict):
        return [content], []
    coupons = _coupons_in(answer, schema)
    if coupons is not None:
        echoes = (coupon[echo] for coupon in coupons if isinstance(coupon, dict) and isinstance(coupon.get(echo), dict))
        return [], [write_json(entity).encode() for entity in echoes]
    # The answer to a creation holds what was created.
    names = () if schema.key[-1] in answer else _CREATED_AS[schema.name]
    created = [write_json(answer[name]).encode() for name in names if isinstance(answer.get(name), dict)]
    return created or [content], []


def _coupons_in(answer: dict[str, Any], schema: Entity) -> list[Any] | None:
    """List the user coupons of an answer about them; None when it is about something else."""
    lists = [answer[name] for name in (_COUPONS.page_field, *_COUPONS.other_lists) if name in answer]
    if lists:
        return [coupon for members in lists if isinstance(members, list) for coupon in members]
    return [answer] if _COUPONS.key[-1] in answer and schema.key[-1] not in answer else None
