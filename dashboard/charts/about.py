"""The architecture as a diagram: boxes in the order in which a bar becomes a forecast, a snake of rows, or one column.

It is HTML and not a picture: text wraps and grows with the reader's settings, boxes are links, and it takes the theme's
colours. Knows no Streamlit. What it shows is escaped, whoever it is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

from dashboard.charts.base import DOWN, QUIET, UP
from dashboard.data.about import STATES, Part

COLUMNS = 4
_COLOURS = {"ok": UP, "problem": DOWN, "running": UP, "nothing": QUIET}
_STYLE = f"""<style>
.parts {{ display: grid; grid-template-columns: repeat({COLUMNS}, minmax(0, 1fr)); gap: 34px 40px; list-style: none;
  margin: 4px 0; padding: 0 !important; }}
.parts li {{ position: relative; margin: 0; }}
.parts a {{ display: block; height: 100%; box-sizing: border-box; padding: 10px 14px; border: 1px solid {QUIET};
  border-left-width: 6px; border-radius: 8px; color: inherit; text-decoration: none; line-height: 1.35; }}
.parts a:hover, .parts a:focus-visible {{ outline: 2px solid {UP}; outline-offset: 2px; }}
.parts strong, .parts span {{ display: block; }}
.parts .does {{ font-size: .875rem; }}
.parts .state {{ font-size: .875rem; font-weight: 600; margin-top: 4px; }}
.parts li::after {{ position: absolute; font-size: 1.4rem; line-height: 1; color: {QUIET}; }}
.parts .right::after {{ content: "→" / ""; right: -32px; top: calc(50% - .7rem); }}
.parts .left::after {{ content: "←" / ""; left: -32px; top: calc(50% - .7rem); }}
.parts .down::after {{ content: "↓" / ""; bottom: -29px; left: calc(50% - .5rem); }}
@media (max-width: 760px) {{
  .parts {{ grid-template-columns: minmax(0, 1fr); gap: 34px; }}
  .parts li {{ grid-area: auto !important; }}
  .parts li:not(:last-child)::after {{ content: "↓" / ""; bottom: -29px; top: auto; right: auto;
    left: calc(50% - .5rem); }}
}}
</style>"""


def diagram(parts: Sequence[Part], query: dict[str, str] | None = None, columns: int = COLUMNS) -> str:
    """The diagram as HTML.

    Args:
        parts: in their order.
        query: what links to pages keep, as the zone.
        columns: boxes a row on a wide screen.
    """
    tail = f"?{urlencode(query)}" if query else ""
    boxes = "".join(_box(part, place, len(parts), tail, columns) for place, part in enumerate(parts))
    return f'{_STYLE}<ol class="parts" aria-label="The parts of the platform, and how each stands">{boxes}</ol>'


def _box(part: Part, place: int, count: int, tail: str, columns: int) -> str:
    row, along = divmod(place, columns)
    back = row % 2
    column = columns - along if back else along + 1
    turns = along == columns - 1
    arrow = "" if place == count - 1 else "down" if turns else "left" if back else "right"
    sign, word = STATES[part.state]
    return (
        f'<li class="{arrow}" style="grid-row: {row + 1}; grid-column: {column}">'
        f'<a href="{escape(part.page) or "."}{escape(tail)}" target="_self" '
        f'style="border-left-color: {_COLOURS[part.state]}">'
        f"<strong>{escape(part.name)}</strong>"
        f'<span class="does">{escape(part.does)}</span>'
        f'<span class="state">{sign} {word}: {escape(part.says)}</span></a></li>'
    )
