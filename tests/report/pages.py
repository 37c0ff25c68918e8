"""A report's page read back: what a browser would find in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """Tables by name, each with its columns and the values behind its cells; cards by measure; every address and tag."""

    text: str
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, list[list[str]]] = field(default_factory=dict)
    cards: dict[str, str] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._table = self._card = ""
        self._in_data = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.addresses += [given[name] for name in ("src", "href", "xlink:href", "action", "srcset") if name in given]
        if tag == "section":
            self.sections.append(given["id"])
        elif "data-table" in given:
            self._table = given["data-table"]
            self.tables[self._table], self.columns[self._table], self.shown[self._table] = [], [], []
        elif "data-column" in given:
            self.columns[self._table].append(given["data-column"])
        elif "data-measure" in given:
            self._card = given["data-measure"]
        elif tag == "tr" and self._table:
            self.tables[self._table].append([])
            self.shown[self._table].append([])
        elif tag == "data" and self._card:
            self.cards[self._card], self._card = given["value"], ""
        elif tag == "data":
            self.tables[self._table][-1].append(given["value"])
            self.shown[self._table][-1].append("")
            self._in_data = True

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.shown[self._table][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "data":
            self._in_data = False

    def rows(self, table: str) -> list[dict[str, str]]:
        return [dict(zip(self.columns[table], row, strict=True)) for row in self.tables[table] if row]
