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
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from wxcoupon_analytics.entities.echoes import ID_FIELDS, Shortener, ids_of
from wxcoupon_analytics.entities.fields import Field
from wxcoupon_analytics.entities.fitting import NOTHING, fitter, is_unicode
from wxcoupon_analytics.entities.schemas import (
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

    Once per field and process. Nothing is lost and nothing needs doing; a newer release may give the field a column.
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
        One entity, one page (known by its ``stock_list`` or ``user_coupon_list``), or a list of either. For ``stocks``
        and ``product_coupons`` also pages of user coupons: the nested entities are taken out, once each.
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
    context = Page(b"", fetched_at, brand_id, openid, appid)
    contents = itertools.chain.from_iterable(_contents(part) for part in _parts(payload))
    if schema.name == "user_coupons":
        return to_frame(entity, flatten_pages(entity, (replace(context, content=content) for content in contents)))
    own, nested = [], []
    for content in contents:
        inner = _taken_out(schema, content)
        if inner is None:
            own.append(content)
        else:
            nested += inner
    pages = [replace(context, content=content) for content in (*own, *dict.fromkeys(nested))]
    frame = to_frame(entity, flatten_pages(entity, pages))
    return _once_each(schema, frame) if nested else frame


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


# --- what a payload is made of ---------------------------------------------------------------------------------------


def _parts(payload: Any) -> Iterator[Any]:
    """Take a list of answers apart, whether it came as a Python list or as a JSON one."""
    if isinstance(payload, list | tuple):
        for part in payload:
            yield from _parts(part)
    elif isinstance(payload, bytes | bytearray | memoryview | str):
        text = payload if isinstance(payload, str) else _decoded(bytes(payload))
        if text.lstrip()[:1] == "[":
            yield from _parts(_loaded(text))
        else:
            yield text
    else:
        yield payload


def _contents(part: Any) -> Iterator[bytes]:
    if isinstance(part, str):
        if not is_unicode(part):
            raise ValidationError(f"the payload is not JSON: text with half a surrogate pair, {part[:60]!r}")
        yield part.encode()
    elif isinstance(part, Mapping):
        try:
            yield json.dumps(part, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ValidationError(f"the payload is not what JSON can say: {error}") from error
    else:
        raise ValidationError(
            f"a payload is an object, a page or a list of them, not {type(part).__name__}: {part!r:.60}"
        )


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValidationError(f"the answer is not UTF-8: {error}; it begins {content[:60]!r}") from error


def _loaded(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"the answer is not JSON: {error}; it begins {text[:60]!r}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; of a key sent twice the last value counts and the earlier ones keep a name."""
    built = dict(pairs)
    if len(built) < len(pairs):
        seen: dict[str, int] = {}
        for name, value in pairs:
            seen[name] = seen.get(name, 0) + 1
            if seen[name] < sum(other == name for other, _ in pairs):
                built[f"{name}#{seen[name]}"] = value
    return built


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


# --- the fast path ---------------------------------------------------------------------------------------------------


class _Reader:
    """Reads batches of answers of one entity."""

    def __init__(self, schema: Entity) -> None:
        self.schema = schema
        self.shortener = Shortener()
        self.page_field = schema.page_field
        self.fitter = fitter(pa.struct([(inner.name, field_type(inner)) for inner in schema.fields]))
        envelope = [(_PLACE, NUMBER), ("total_count", NUMBER), ("next_page_token", TEXT)]
        self.parsing = pj.ParseOptions(
            explicit_schema=pa.schema([*envelope, (self.page_field, pa.list_(schema.as_sent))]),
            unexpected_field_behavior="error",
        )
        self.drift: set[str] = set()
        self.all_drifted = False

    def read(self, pages: Sequence[Page]) -> pa.Table:
        texts = [self._text(page) for page in pages]
        try:
            rows = self._strictly(texts, range(len(pages)))
        except (pa.ArrowInvalid, _DriftedError):
            rows = self._one_by_one(texts)
        return self._with_context(rows, pages)

    def warn(self) -> None:
        """Say once a process what the schema does not know."""
        for path in sorted(self.drift):
            if (self.schema.name, path) not in _warned:
                _warned.add((self.schema.name, path))
                warnings.warn(
                    f"the API answered with {path!r} in {self.schema.name}, which the schema does not declare or not as"
                    " this kind of value; it is kept in the column 'extra'",
                    SchemaDriftWarning,
                    stacklevel=4,
                )

    def _text(self, page: Page) -> str:
        if page.fetched_at is not None and page.fetched_at.tzinfo is None:
            raise ValidationError(f"fetched_at has no time zone: {page.fetched_at!r}; use ZoneInfo('Asia/Shanghai')")
        text = _decoded(page.content).strip(_WHITESPACE)
        return self.shortener.shorten(text) if self.schema.name == "user_coupons" else text

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

    def _one_by_one(self, texts: Sequence[str]) -> pa.Table:
        if self.all_drifted:
            return self._exactly(texts, range(len(texts)))
        parts = []
        drifted = []
        for place, text in enumerate(texts):
            try:
                parts.append(self._strictly([text], [place]))
            except (pa.ArrowInvalid, _DriftedError):
                drifted.append(place)
        parts.append(self._exactly([texts[place] for place in drifted], drifted))
        # When the API has changed for good, the next batch that is refused need not be tried page by page.
        self.all_drifted = len(drifted) == len(texts)
        rows = pa.concat_tables(parts)
        return rows if self.all_drifted else rows.take(pc.sort_indices(rows[_PLACE]))

    def _exactly(self, texts: Sequence[str], places: Iterable[int]) -> pa.Table:
        """Read answers one value at a time; what does not fit is left over and kept."""
        fitted, parents, extras = [], [], []
        for place, text in zip(places, texts, strict=True):
            answer = _loaded(text)
            for entity in self._entities(answer):
                if entity is None:
                    continue
                fits, left = self.fitter.fit(self._own(entity))
                fitted.append(fits)
                parents.append(place)
                extras.append(self._kept(left))
        nested = pa.array(fitted, self.schema.as_sent)
        return self._columns(nested, pa.array(parents, NUMBER), pa.array(extras, TEXT))

    def _entities(self, answer: Any) -> list[Any]:
        """List the entities of an answer: those of a page, or the answer itself."""
        if not isinstance(answer, dict):
            raise ValidationError(f"an answer is an object or a page, not {type(answer).__name__}: {answer!r:.60}")
        if self.page_field in answer and isinstance(answer[self.page_field], list | None):
            # What is new about the page itself belongs to no row: it is warned about and not kept.
            self.drift.update(f"(page) {name}" for name in answer.keys() - _ENVELOPE - {self.page_field})
            return answer[self.page_field] or []
        # A page without members may come without its list.
        return [] if answer.keys() <= _ENVELOPE else [answer]

    def _own(self, entity: Any) -> Any:
        """Take away what is another entity's: all but the ids of an echo, all of what stands apart."""
        if not isinstance(entity, dict):
            return entity
        for name in self.schema.apart & entity.keys():
            del entity[name]
        for name, ids in ID_FIELDS.items() if self.schema.name == "user_coupons" else ():
            echo = entity.get(name)
            if isinstance(echo, dict) and not echo.keys() <= set(ids):
                entity[name] = ids_of(name, echo)
        return entity

    def _kept(self, left: Any) -> str | None:
        if left is NOTHING:
            return None
        self.drift.update(self.fitter.paths(left))
        try:
            text = json.dumps(left, ensure_ascii=False, separators=(",", ":"))
        except RecursionError as error:
            raise ValidationError("the answer is nested too deeply to be kept") from error
        return text if is_unicode(text) else json.dumps(left, separators=(",", ":"))

    def _columns(self, entities: pa.StructArray, parents: pa.Array, extra: pa.Array) -> pa.Table:
        columns = dict(_leaves(entities, self.schema.fields))
        for name, inner in columns.items():
            if name in self.schema.names and inner.type != (declared := self.schema.arrow.field(name).type):
                columns[name] = _cast(inner, declared)
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
_ENVELOPE: Final = frozenset({"total_count", "next_page_token", "stock_bundle_id"})
_WHITESPACE: Final = " \t\r\n"
_warned: set[tuple[str, str]] = set()


def _leaves(array: pa.StructArray, fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, pa.Array]]:
    """Name the leaves of nested structs; a parent that is null makes its leaves null."""
    for inner, values in zip(fields, array.flatten(), strict=True):
        if inner.kind == "group":
            yield from _leaves(values, inner.fields, f"{prefix}{inner.name}_")
        else:
            yield f"{prefix}{inner.name}", values


def _cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Cast the times inside lists too. Arrow's own cast of a struct also reads what lies behind its nulls, and fails."""
    if pa.types.is_list(type_):
        values = _cast(array.values, type_.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=array.is_null())
    if pa.types.is_struct(type_):
        members = [_cast(inner, member.type) for inner, member in zip(array.flatten(), type_, strict=True)]
        return pa.StructArray.from_arrays(members, fields=list(type_), mask=array.is_null())
    return array.cast(type_)


# --- entities nested in other answers --------------------------------------------------------------------------------

_NESTED_AS: Final = {"product_coupons": ("product_coupon",), "stocks": ("stock", "stock_bundle")}


def _taken_out(schema: Entity, content: bytes) -> list[bytes] | None:
    """Take out what an answer about something else holds of an entity; None when it is no such answer."""
    text = _decoded(content)
    names = [name for name in _NESTED_AS[schema.name] if f'"{name}"' in text]
    if not names:
        return None
    if '"user_coupon_list"' in text:
        shortener = Shortener(collect=True)
        answer = _loaded(shortener.shorten(text))
        if isinstance(answer, dict) and isinstance(answer.get("user_coupon_list"), list):
            return [echo.encode() for name in names for echo in shortener.collected.get(name, ())]
    answer = _loaded(text)
    if not isinstance(answer, dict) or schema.key[-1] in answer:
        return None
    return [json.dumps(answer[name]).encode() for name in names if isinstance(answer.get(name), dict)] or None


def _once_each(schema: Entity, frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the last row of every key; a row without its ids is nobody's double."""
    ids = [name for name in schema.key if name != "brand_id"]
    doubled = frame.duplicated(list(schema.key), keep="last") & frame[ids].notna().all(axis=1)
    return frame[~doubled].reset_index(drop=True)
