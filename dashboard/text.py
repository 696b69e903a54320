"""Figures in words, as every page writes them. Direction and outcome always have a sign beside their colour."""

from __future__ import annotations

import math
import re
from datetime import timedelta

DIRECTIONS = {"up": "▲ up", "down": "▼ down", "flat": "■ no call"}
OUTCOMES = {"correct": "● correct", "incorrect": "✕ incorrect", "flat": "▬ flat", "missed": "? missed"}
PENDING = "… pending"
SEVERITIES = {"critical": "‼ critical", "warning": "! warning"}
EVENTS = {"raised": "began", "escalated": "became critical", "resolved": "is over"}
UNKNOWN = "—"
# What is not written in small letters.
_WRITTEN = {word.lower(): word for word in ("EMA", "MACD", "ROC", "RSI", "SMA", "XGBoost", "York", "Klass")}


def plain(text: str) -> str:
    r"""Text from data for a place that takes Markdown: nothing in it is formatted, linked, drawn or run.

    >>> plain("**a** :red[b] <i>")
    '\\*\\*a\\*\\* \\:red\\[b\\] \\<i\\>'
    """
    # Addresses are linked even where they are escaped; a word joiner, which cannot be seen, keeps them from it.
    unlinked = re.sub(r"(https?:|www|@)", "\\1\u2060", " ".join(text.split()), flags=re.IGNORECASE)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unlinked)


def plain_document(markdown: str) -> str:
    r"""A document from data, as Markdown in which headings, lists, quotes, tables, bold and code are all there is.

    >>> plain_document("# A\n- **b** <i> ![c](d)")
    '#### A\n- **b** \\<i\\> \\!\\[c\\]\\(d\\)'
    """
    return "\n".join(_plain_line(line) for line in markdown.splitlines())


def _plain_line(line: str) -> str:
    if re.fullmatch(r"\|(:?-+:?\|)+", line):
        return line
    if line.startswith("|"):
        return "| " + " | ".join(_plain_span(cell.strip()) for cell in line.strip().strip("|").split("|")) + " |"
    mark, rest = re.match(r"(#{1,6} |- |> )?(.*)", line).groups("")  # type: ignore[union-attr]
    # Whatever is above it, nothing here is as high as a page's own headings.
    return ("##" + mark if mark == "## " else "###" + mark if mark == "# " else mark) + _plain_span(rest)


def _plain_span(span: str) -> str:
    parts = re.split(r"(\*\*[^*`]+\*\*|`[^`]+`)", span)
    # What was split by, bold and code, is at the odd places.
    return "".join(_marked(part) if at % 2 else _spaced(part) for at, part in enumerate(parts))


def _marked(part: str) -> str:
    return part if part[0] == "`" else f"**{plain(part[2:-2])}**"


def _spaced(part: str) -> str:
    before, after = part[:1].isspace(), part[-1:].isspace() and part.strip()
    return (" " if before else "") + plain(part) + (" " if after else "")


def decimals(price: float) -> int:
    """How many decimals a price of this size is shown with."""
    return 2 if abs(price) >= 10 else 6


def price(value: float | None) -> str:
    """A price: `107,146.50`."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:,.{decimals(value)}f}"


def arrow(move: float) -> str:
    """The sign of a move: up, down or none; it is that of the direction."""
    return DIRECTIONS["up" if move > 0 else "down" if move < 0 else "flat"][0]


def change(value: float) -> str:
    """A relative change, with its sign: `+0.85%`; one that rounds to nothing is `0.00%`."""
    return f"{value:+.2%}" if round(value, 4) else "0.00%"


def spread(lower: float, upper: float, middle: float) -> str:
    """How far bounds reach to either side of a price, on average: `± 0.19%`."""
    return f"± {(upper - lower) / 2 / middle:.2%}"


def share(value: float | None) -> str:
    """A share in whole percent: `86%`."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.0%}"


def odds(value: float) -> str:
    """A probability that is near one half: `49.7%`."""
    return f"{value:.1%}"


def name(identifier: str) -> str:
    """A name from the code as people write it: `random_walk` is `Random walk`, `rsi_14` is `RSI 14`."""
    words = identifier.replace("_", " ").replace("-", " ").capitalize().split(" ")
    return " ".join(_WRITTEN.get(word.lower(), word) for word in words)


def duration(length: timedelta) -> str:
    """A length of time in its largest unit: `40 s`, `5 min`, `3 h`, `12 days`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
