"""What must hold of flattening for every answer there could be."""

import datetime as dt
import io
import json
import warnings

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wxcoupon_analytics.entities.fields import Field
from wxcoupon_analytics.entities.flatten import Page, SchemaDriftWarning, _Reader, flatten, to_frame, to_table
from wxcoupon_analytics.entities.schemas import ENTITIES

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVERY_ENTITY = pytest.mark.parametrize("entity", list(ENTITIES))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
# Since 1970: before 1901 Shanghai's offset had seconds, which no RFC 3339 text can say.
times = st.integers(0, 4_000_000_000).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC).isoformat())
int64 = st.integers(-(2**63), 2**63 - 1)


def well_formed(field: Field) -> st.SearchStrategy:
    """Values as the schema declares them."""
    inner = {f.name: st.none() | well_formed(f) for f in field.fields}
    return {
        "text": st.text(max_size=5),
        "time": times,
        "number": int64,
        "flag": st.booleans(),
        "texts": st.lists(st.none() | st.text(max_size=3), max_size=2),
        "group": st.fixed_dictionaries({}, optional=inner),
        "rows": st.lists(st.fixed_dictionaries({}, optional=inner), max_size=2),
    }[field.kind]


def drifting(field: Field) -> st.SearchStrategy:
    """Values under the schema's names, but of any shape."""
    if not field.fields:
        return well_formed(field) | anything
    inner = st.dictionaries(st.sampled_from([f.name for f in field.fields]) | st.text(max_size=3), anything, max_size=3)
    some = st.lists(inner, max_size=2) if field.kind == "rows" else inner
    return well_formed(field) | some | anything


def entities(entity: str, values) -> st.SearchStrategy:
    fields = {f.name: values(f) for f in ENTITIES[entity].fields}
    # Five of the fields at a time: whole entities would be slow to make.
    names = st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


def quietly(entity, payload):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SchemaDriftWarning)
        return flatten(entity, payload)


def merged(column, left):
    """Lay what a column holds and what was left over back together."""
    if isinstance(column, dict) and isinstance(left, dict):
        return {name: merged(column.get(name), left.get(name)) for name in column.keys() | left.keys()}
    if isinstance(column, list) and isinstance(left, list):
        return [merged(c, part) for c, part in zip(column, left, strict=True)]
    return column if left is None or (left == {} and column is not None) else left


def pruned(value):
    """A value without what says nothing: nulls, and objects that hold nothing else."""
    if isinstance(value, dict):
        return {k: p for k, v in value.items() if (p := pruned(v)) is not None} or None
    if isinstance(value, list):
        return [pruned(v) for v in value]
    return value


def comparable(value):
    """What a coercion may change: how a number or a time is written."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [comparable(v) for v in value]
    if isinstance(value, str):
        with_offset = len(value) > 15 and "T" in value
        return pd.Timestamp(value).tz_convert("UTC").isoformat() if with_offset and _is_instant(value) else value
    if isinstance(value, bool) or value is None:
        return value
    return str(int(value)) if value == int(value) else repr(value)


def _is_instant(text):
    try:
        return pd.Timestamp(text).tzinfo is not None
    except ValueError:
        return False


def nested_again(entity, table):
    """Undo the flattening, with extra laid over."""
    schema = ENTITIES[entity]

    def build(fields, prefix, row):
        built = {}
        for field in fields:
            name = f"{prefix}{field.name}"
            built[field.name] = build(field.fields, f"{name}_", row) if field.kind == "group" else row.get(name)
        return built

    for row in table.to_pylist():
        tree = build(schema.fields, "", row)
        if entity == "user_coupons":
            tree["stock"]["stock_id"] = row["stock_id"]
        yield merged(tree, json.loads(row["extra"]) if row["extra"] else None)


@EVERY_ENTITY
@QUICK
@given(data=st.data())
def test_any_answer_gives_the_declared_schema(entity, data):
    payload = data.draw(st.dictionaries(st.text(), anything, max_size=4) | entities(entity, drifting))
    frame = quietly(entity, payload)
    assert to_table(entity, frame).schema.equals(ENTITIES[entity].arrow, check_metadata=True)


@pytest.mark.parametrize("entity", ["product_coupons", "stocks"])
@QUICK
@given(data=st.data())
def test_nothing_is_lost(entity, data):
    payload = data.draw(entities(entity, drifting))
    payload["state"] = "A"  # so that it is an entity, and one row
    payload["_"] = data.draw(anything)
    (back,) = nested_again(entity, to_table(entity, quietly(entity, payload)))
    assert comparable(pruned(as_text(back))) == comparable(pruned(payload))


def as_text(value):
    if isinstance(value, dict):
        return {k: as_text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [as_text(v) for v in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


@EVERY_ENTITY
@QUICK
@given(data=st.data())
def test_frame_to_parquet_and_back_is_the_identity(entity, data):
    frame = quietly(entity, data.draw(st.lists(entities(entity, drifting), max_size=3)))
    file = io.BytesIO()
    pq.write_table(to_table(entity, frame), file)
    pd.testing.assert_frame_equal(to_frame(entity, pq.read_table(file)), frame)


@EVERY_ENTITY
@QUICK
@given(data=st.data())
def test_both_paths_agree_on_clean_answers(entity, data):
    page = {ENTITIES[entity].page_field: data.draw(st.lists(entities(entity, well_formed), max_size=3))}
    text = json.dumps(page, ensure_ascii=data.draw(st.booleans()))
    reader = _Reader(ENTITIES[entity])
    exactly = reader._exactly([reader._text(Page(text.encode(), None, None))], [0])
    try:
        strictly = reader._strictly([text], [0])
    except pa.ArrowInvalid as error:
        pytest.fail(f"a clean page was refused: {error}")
    assert strictly.equals(exactly)
    assert not reader.drift
