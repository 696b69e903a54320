"""A drift report as one page of HTML: no script, nothing from elsewhere, readable in both colour schemes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cryptosentinel.drift.records import DriftReport, FeatureDrift, Histogram, NotChecked, WindowDrift, in_words

# The baseline as a filled shape, the windows as lines over it.
_COLOURS = ("var(--short)", "var(--long)")
_WIDTH, _HEIGHT = 240, 74
_CSS = """
:root{color-scheme:light dark;--page:#fff;--card:#f5f7fa;--line:#dfe4ea;--text:#1b2430;--soft:#4b5767;--base:#c9d3df;
--short:#a8500a;--long:#1768ad}
@media(prefers-color-scheme:dark){:root{--page:#10151c;--card:#19202a;--line:#2b3542;--text:#e6eaf0;--soft:#b4bfcc;
--base:#3a4757;--short:#f2a25c;--long:#6db3f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px 40px}
h1{margin:0 0 .3em;font-size:1.6rem;line-height:1.2}
h2{margin:1.8em 0 .3em;font-size:1.2rem}
p{margin:.3em 0 .6em;max-width:80ch}
.soft,figcaption,caption{color:var(--soft)}
.note{padding:.5em .8em;border-left:3px solid var(--short);background:var(--card)}
.yes{color:var(--short);font-weight:650}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;padding-bottom:.3em}
th,td{padding:4px 8px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:14px}
figure{margin:0;padding:8px 10px;border:1px solid var(--line);border-radius:8px;background:var(--card)}
figure.yes{border-color:var(--short);font-weight:400;color:inherit}
figcaption{font-size:.8rem;overflow-wrap:anywhere}
figcaption b{color:var(--text)}
svg{display:block;width:100%;height:auto}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.88rem;margin:.4em 0 .8em}
.key span::before{content:"";display:inline-block;width:22px;height:0;border-top:3px solid var(--mark);margin-right:6px;
vertical-align:middle}
"""


def page(found: DriftReport | NotChecked, besides: Sequence[str] = ()) -> str:
    """The page: the verdict, a picture a feature, the drifted ones first, a table a window.

    Args:
        found: what a check found.
        besides: further sentences for the reader.
    """
    told = "".join(f"<p>{escape(_sentence(sentence))}</p>" for sentence in besides)
    if isinstance(found, NotChecked):
        return _document("Drift was not checked", f"<p>{escape(_sentence(found.reason))}</p>{told}")
    facts = (
        f"Champion {found.version} of {found.asset}; its baseline: {found.reference_rows:,} rows from "
        f"{found.reference_start:%Y-%m-%d %H:%M} to {found.reference_end:%Y-%m-%d %H:%M} UTC. Newest row: "
        f"{found.data_end:%Y-%m-%d %H:%M} UTC. Detector: {found.detector}."
    )
    note = f'<p class="note">{escape(_sentence(found.note))}</p>' if found.note else ""
    tables = "".join(_table(window, news=number == 0) for number, window in enumerate(found.windows))
    return _document(
        f"{'Drift' if found.drifted else 'No drift'}: {found.score:.0%}",
        f"<p>{escape(_sentence(found.sentence()))} {escape(found.advice())}</p>{told}{note}"
        f'<p class="soft">{escape(facts)}</p>{_pictures(found)}{tables}',
    )


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_CSS}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _table(window: WindowDrift, *, news: bool) -> str:
    columns = ("drifted", "distance", "p", "corrected p", "shift", "weight")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("feature", *columns))
    rows = "".join(_row(feature) for feature in window.features)
    season = f"Compared without their hours and weekends{', and without the level of the day before' if news else ''}"
    caption = (
        f"{season}. {window.rows} rows; p is the share of {window.stretches:,} overlapping stretches of the baseline "
        f"that are as far from the rest of it, and drift is a corrected p of at most {window.rate:g}. Shift: of the "
        "mean, in standard deviations."
    )
    return (
        f"<h2>The last {in_words(window.hours)}: {window.score:.0%}</h2><div class=wide><table>"
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(feature: FeatureDrift) -> str:
    drifted = '<td class="yes">yes</td>' if feature.drifted else "<td>no</td>"
    numbers = (
        f"{feature.statistic:.3f}",
        f"{feature.p_value:.4f}",
        f"{feature.corrected:.4f}",
        f"{feature.effect:+.2f}",
        f"{feature.weight:.1%}",
    )
    return f"<tr><td>{escape(feature.feature)}</td>{drifted}{''.join(f'<td>{each}</td>' for each in numbers)}</tr>"


def _pictures(report: DriftReport) -> str:
    drifted = {each.feature for window in report.windows for each in window.features if each.drifted}
    least: dict[str, float] = {}
    for each in (each for window in report.windows for each in window.features):
        least[each.feature] = min(each.corrected, least.get(each.feature, 1.0))
    order = sorted(report.histograms, key=lambda each: (each.feature not in drifted, least.get(each.feature, 1.0)))
    names = [f"the last {in_words(window.hours)}" for window in report.windows]
    marks = [("the baseline", "var(--base)"), *zip(names, _COLOURS, strict=False)]
    key = "".join(f'<span style="--mark:{colour}">{escape(name)}</span>' for name, colour in marks)
    figures = "".join(_picture(each, names, each.feature in drifted) for each in order)
    return (
        "<h2>Then and now</h2><p class=soft>Each feature as it is, hours and weekends included; the share of rows a "
        "bin. What lies beyond the baseline's outermost 0.5% is in the first and the last bin.</p>"
        f'<div class="key">{key}</div><div class="pictures">{figures}</div>'
    )


def _picture(histogram: Histogram, names: Sequence[str], drifted: bool) -> str:
    samples = [_shares(counts) for counts in (histogram.baseline, *histogram.windows)]
    # A window of a few rows may have all of them in one bin: the picture ends at three times the baseline's highest.
    top = min(max(map(max, samples)), 3 * max(samples[0])) or 1.0
    lines = "".join(
        f'<path d="{_steps(shares, top)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        for shares, colour in list(zip(samples[1:], _COLOURS, strict=False))[::-1]
    )
    base = f'<path d="{_steps(samples[0], top)}V{_HEIGHT}H0Z" fill="var(--base)"/>'
    low, high = histogram.edges[0], histogram.edges[-1]
    label = escape(f"{histogram.feature}: the baseline and {' and '.join(names)}, from {low:g} to {high:g}", quote=True)
    mark = ' class="yes"' if drifted else ""
    word = ' <span class="yes">drifted</span>' if drifted else ""
    return (
        f'<figure{mark}><figcaption><b>{escape(histogram.feature)}</b>{word}</figcaption><svg role="img" '
        f'aria-label="{label}" viewBox="0 -2 {_WIDTH} {_HEIGHT + 4}">{base}{lines}</svg>'
        f"<figcaption>{low:.3g} to {high:.3g}</figcaption></figure>"
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _steps(shares: Sequence[float], top: float) -> str:
    """A path of steps, from the lower left corner."""
    width = _WIDTH / len(shares)
    heights = [_HEIGHT * (1 - min(share / top, 1.0)) for share in shares]
    return f"M0 {_HEIGHT}" + "".join(f"V{y:.1f}H{(bin_ + 1) * width:.1f}" for bin_, y in enumerate(heights))
