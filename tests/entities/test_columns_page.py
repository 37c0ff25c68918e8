"""The documentation page of columns says what the schemas say."""

from tests import regenerate_columns
from wxcoupon_analytics.entities.schemas import ENTITIES, EVENTS


def test_the_page_is_what_the_schemas_say_today():
    written = regenerate_columns.PAGE.read_text("utf-8")
    assert written == regenerate_columns.page(), "it is stale: python -m tests.regenerate_columns"


def test_the_page_has_every_column_of_every_entity_once_and_a_label_for_each_entity():
    page = regenerate_columns.page()
    for entity in (*ENTITIES.values(), EVENTS):
        section = page.partition(f"\n## `{entity.name}` (")[2].partition("\n## ")[0]
        columns = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert columns == list(entity.names)
        cells = {line.count("|") for line in section.splitlines() if line.startswith("|")}
        assert cells == {6}, "a pipe in a cell would break the table"
