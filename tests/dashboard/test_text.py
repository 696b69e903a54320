"""How figures are written."""

from __future__ import annotations

import html
import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dashboard import text

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)
LETTERS = st.text(st.characters(blacklist_categories=("C",)))


@given(LETTERS)
@example("**bold** <b>html</b> [a](http://b.c) ![i](j) :red[x] $x$ `code` | # - 1. ~~s~~ &amp; \\")
def test_text_from_data_is_shown_as_it_is_whatever_markdown_it_holds(raw: str) -> None:
    shown = MarkdownIt("gfm-like", {"linkify": False}).renderInline(text.plain(raw))
    assert html.unescape(shown).replace("\u2060", "") == " ".join(raw.replace("\u2060", "").split())


@pytest.mark.parametrize("address", ["http://a.example/b", "HTTPS://a.example", "www.a.example", "me@a.example"])
def test_an_address_in_text_from_data_is_not_linked(address: str) -> None:
    """The patterns by which GitHub's Markdown finds addresses in text that is parsed and unescaped already."""
    shown = MarkdownIt("gfm-like", {"linkify": False}).renderInline(text.plain(address))
    assert not re.search(r"https?://|www\.|[\w.+-]+@[\w-]+", shown, re.IGNORECASE)


@given(LETTERS)
def test_streamlits_own_markup_is_escaped_too(raw: str) -> None:
    escaped = text.plain(raw).replace("\\\\", "")
    assert all(escaped[at - 1] == "\\" for at, sign in enumerate(escaped) if sign in ":$[]<>")


@pytest.mark.parametrize(
    ("value", "written"),
    [(107146.5, "107,146.50"), (0.0812, "0.081200"), (None, text.UNKNOWN), (math.nan, text.UNKNOWN)],
)
def test_a_price_has_the_decimals_of_its_size(value: float | None, written: str) -> None:
    assert text.price(value) == written


@pytest.mark.parametrize(("value", "written"), [(0.0123, "+1.23%"), (-0.0001, "-0.01%"), (-0.00001, "0.00%")])
def test_a_change_has_a_sign_unless_it_rounds_to_nothing(value: float, written: str) -> None:
    assert text.change(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (90_000, "25 h"), (172_800, "2 days")],
)
def test_a_duration_is_told_in_its_largest_unit(seconds: int, written: str) -> None:
    assert text.duration(timedelta(seconds=seconds)) == written


def test_directions_and_outcomes_differ_by_their_sign() -> None:
    for words in (text.DIRECTIONS, {**text.OUTCOMES, "pending": text.PENDING}):
        assert len({word[0] for word in words.values()}) == len(words)
    assert [text.arrow(move) for move in (1.0, -1.0, 0.0)] == ["▲", "▼", "■"]


def test_a_document_keeps_its_form_and_nothing_in_it_is_drawn_linked_or_run() -> None:
    document = """# Bitcoin

> **A :red[word]** and `a *code*`
- one [link](https://a.b) <script>
| a ![b](c) | **d** |
|---|---:|
## Next
1. x"""
    assert text.plain_document(document).splitlines() == [
        "#### Bitcoin",
        "",
        r"> **A \:red\[word\]** and `a *code*`",
        "- one \\[link\\]\\(https\\:\u2060\\/\\/a\\.b\\) \\<script\\>",
        r"| a \!\[b\]\(c\) | **d** |",
        "|---|---:|",
        "#### Next",
        r"1\. x",
    ]
