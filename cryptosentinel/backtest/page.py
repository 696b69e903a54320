"""The report's page: its style sheet, its script, and the few kinds of HTML it is made of. Texts are escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cryptosentinel.backtest.words import MARKS

_BRIEF = 18  # characters of a text that is not broken across lines
_KINDS = {MARKS[True]: "held", MARKS[False]: "missed"}
CSS = """
:root{color-scheme:light dark;--page:#fff;--card:#f5f7fa;--line:#dfe4ea;--text:#1b2430;--soft:#4b5767;--blue:#1768ad;
--orange:#a8500a;--accent:#7546c4}
@media(prefers-color-scheme:dark){:root{--page:#10151c;--card:#19202a;--line:#2b3542;--text:#e6eaf0;--soft:#b4bfcc;
--blue:#6db3f2;--orange:#f2a25c;--accent:#b894f0}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
.kicker{margin:0;color:var(--accent);font-weight:600;font-size:.8rem;letter-spacing:.09em;text-transform:uppercase}
h1{margin:.1em 0 .25em;font-size:clamp(1.6rem,4.6vw,2.4rem);line-height:1.15;letter-spacing:-.02em;text-wrap:balance}
h2{margin:2.6em 0 .2em;padding-top:.9em;border-top:1px solid var(--line);font-size:1.42rem;line-height:1.25;
letter-spacing:-.01em}
h3{margin:1.5em 0 .15em;font-size:1.02rem;line-height:1.35}
p{margin:.35em 0 .7em;max-width:75ch;text-wrap:pretty}
.soft,figcaption,footer,.facts{color:var(--soft)}
.facts{font-size:.92rem}
.note{padding:.6em .9em;border-left:3px solid var(--orange);background:var(--card);border-radius:0 8px 8px 0}
.verdict{margin:1.1em 0 1.3em;padding:0;list-style:none;display:grid;gap:.65em;font-size:1.06rem;max-width:80ch}
.verdict li{padding-left:1em;border-left:3px solid var(--accent)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(236px,1fr));gap:12px;margin:0;padding:0}
.tile{padding:13px 16px 11px;border:1px solid var(--line);border-radius:12px;background:var(--card)}
.tile dt{font-size:.86rem;line-height:1.3;color:var(--soft);min-height:2.6em}
.tile dd{margin:0}
.tile .big{font-size:1.8rem;font-weight:650;line-height:1.2;letter-spacing:-.02em}
.tile .limit{font-size:.84rem;line-height:1.35;color:var(--soft)}
.big,table,.num{font-variant-numeric:tabular-nums}
.held{color:var(--blue);font-weight:650;white-space:nowrap}.missed{color:var(--orange);font-weight:650;white-space:nowrap}
figure{margin:.4em 0 1.4em}
figcaption{font-size:.92rem;max-width:80ch;margin:.1em 0 .3em}
.chart{width:100%;border:0}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:0 28px}
.two>*{min-width:0}
.views{display:flex;flex-wrap:wrap;gap:6px;margin:.5em 0 0}
.views button{font:inherit;font-size:.86rem;padding:4px 12px;min-height:32px;border:1px solid var(--line);
border-radius:999px;background:var(--card);color:var(--text);cursor:pointer}
.views button[aria-pressed=true]{border-color:var(--accent);color:var(--accent);font-weight:600}
.views button:focus-visible,summary:focus-visible,.wide:focus-visible{outline:2px solid var(--accent);
outline-offset:2px}
.wide{overflow-x:auto;margin:.5em 0 1em}
table{border-collapse:collapse;font-size:.9rem;line-height:1.35;min-width:100%}
caption{caption-side:top;text-align:left;color:var(--soft);padding-bottom:.3em}
th,td{padding:6px 9px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
th.text,td.text{text-align:left}td{white-space:nowrap}td.text{white-space:normal;overflow-wrap:anywhere;min-width:5.5em}
td.text.brief{white-space:nowrap}
td.text:first-child{min-width:9em;overflow-wrap:normal}
tr.noted td{border-bottom:0;padding-bottom:0}
td.why{text-align:left;white-space:normal;font-size:.86rem;color:var(--soft)}
td.why div{position:sticky;left:2px;max-width:min(80ch,100vw - 44px)}
th:first-child,td:first-child{padding-left:2px;position:sticky;left:0;background:var(--page)}
tr.ours td{font-weight:650}
tbody tr:hover td{background:var(--card)}
details{margin:.7em 0}
summary{cursor:pointer;font-weight:600;padding:.25em 0}
pre{overflow-x:auto;padding:12px 14px;background:var(--card);border:1px solid var(--line);border-radius:10px;
font-size:.84rem;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere}
footer{padding-top:2em;padding-bottom:3em;font-size:.88rem}
.chart text:not(.heatmap-label text){fill:var(--soft)!important}
.chart .heatmap-label text{fill:var(--text)!important}
.chart .hoverlayer .bg,.chart .hoverlayer .hovertext path{fill:var(--card)!important;stroke:var(--line)!important}
.chart .hoverlayer text{fill:var(--text)!important}
.chart .errorbar path,.chart .legend .bg{stroke-opacity:.9}
.modebar-btn path{fill:var(--soft)!important}
@media(max-width:560px){main,header,footer{padding-left:14px;padding-right:14px}header{padding-top:22px}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.tile{padding:10px 11px}.tile .big{font-size:1.35rem}
.tile dt{font-size:.8rem;min-height:3.9em}.tile .limit{font-size:.76rem}h2{margin-top:1.8em}
th,td{padding:6px 5px}td.text:first-child{min-width:6.5em}.verdict{font-size:1rem}}
@media print{.views,.modebar{display:none}details{display:block}h2{break-after:avoid}figure{break-inside:avoid}}
"""

# The charts lie in the page as JSON; a button of `.views` moves its chart to another part.
SCRIPT = """
const charts=JSON.parse(document.getElementById("charts").textContent);
const config={displaylogo:false,responsive:true,scrollZoom:false,modeBarButtons:[["zoom2d","pan2d","resetScale2d"]]};
for(const id in charts){Plotly.newPlot(id,charts[id].data,charts[id].layout,config)}
for(const button of document.querySelectorAll(".views button")){button.addEventListener("click",()=>{
const [id,x,y]=JSON.parse(button.dataset.view);Plotly.relayout(id,{"xaxis.range":x,"yaxis.range":y});
for(const other of button.parentElement.children){other.setAttribute("aria-pressed",String(other===button))}})}
"""


def table(
    heads: Sequence[str],
    body: Iterable[Sequence[str]],
    *,
    texts: Sequence[int] = (0,),
    ours: int | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A table of texts that are ready to be read; numbers stand to the right.

    Args:
        heads: of the columns.
        body: the rows, as long as `heads`.
        texts: the columns that hold words.
        ours: the row to set off.
        notes: what is said under each row, as wide as the window.
    """
    set_off, noted = ' class="ours"', ' class="noted"'

    def cell(tag: str, column: int, text: str) -> str:
        words = "text brief" if len(text) <= _BRIEF else "text"
        kind = f' class="{words}"' if column in texts else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{kind}{scope}>{marked(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(heads))
    lines = [
        f"<tr{set_off if number == ours else noted if notes else ''}>"
        + "".join(cell("td", column, text) for column, text in enumerate(row))
        + "</tr>"
        + (f'<tr><td class="why" colspan="{len(row)}"><div>{escape(notes[number])}</div></td></tr>' if notes else "")
        for number, row in enumerate(body)
    ]
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def claim(sentence: str) -> str:
    """A sentence, the claim that it opens with in bold."""
    head, colon, rest = sentence.partition(":")
    return f"<strong>{escape(head + colon)}</strong>{escape(rest)}"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def details(title: str, body: str) -> str:
    """Something that is folded until it is asked for; `body` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def code(text: str) -> str:
    """Text as it is typed."""
    return f"<pre>{escape(text)}</pre>"


def marked(text: str) -> str:
    """A text; one of `words.MARKS` in the colour of what it says."""
    kind = _KINDS.get(text)
    return f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text)
