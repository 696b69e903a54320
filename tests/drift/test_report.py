"""What is reported: a verdict for people, a page, and rows in the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cryptosentinel.drift import (
    DriftReport,
    FeatureDrift,
    Histogram,
    NotChecked,
    WindowDrift,
    keep_report,
    newest_report,
    page,
)
from tests.builders import open_delta

END = datetime(2025, 1, 6, tzinfo=UTC)


def feature(name: str, *, drifted: bool, weight: float = 0.25) -> FeatureDrift:
    figures = {"statistic": 0.9, "p_value": 0.001, "corrected": 0.004, "naive_p_value": 1e-9, "effect": -1.5}
    return FeatureDrift(feature=name, weight=weight, drifted=drifted, **figures)


def window(hours: float, drifted: int) -> WindowDrift:
    names = ["range", "rsi_14", "roc_10", "log_return"]
    features = [feature(name, drifted=number < drifted) for number, name in enumerate(names)]
    return WindowDrift(hours=hours, rows=9, stretches=4_948, rate=0.01, features=features)


def report(short: int = 0, long: int = 0, **changed: object) -> DriftReport:
    names = ("range", "rsi_14", "roc_10", "log_return")
    histograms = [
        Histogram(feature=name, edges=[0.0, 1.0, 2.0], baseline=[6, 4], windows=[[9, 0], [100, 116]]) for name in names
    ]
    given: dict[str, object] = {
        "asset": "bitcoin",
        "version": 7,
        "data_end": END,
        "detector": "scipy-ks",
        "reference_rows": 5_000,
        "reference_start": END - timedelta(days=90),
        "reference_end": END - timedelta(days=18),
        "weighted": True,
        "threshold": 0.3,
        "windows": [window(3, short), window(72, long)],
        "histograms": histograms,
    }
    return DriftReport.model_validate(given | changed)


@pytest.mark.parametrize(
    ("short", "long", "score", "drifted"),
    [(0, 0, 0.0, False), (1, 0, 0.25, False), (2, 1, 0.5, True), (0, 4, 1.0, True)],
)
def test_the_worse_window_counts_and_more_than_the_threshold_is_drift(
    short: int, long: int, score: float, drifted: bool
) -> None:
    found = report(short, long)
    assert (found.score, found.drifted) == (score, drifted)
    assert found.figures() == {
        "drift_score": score,
        "drifted": float(drifted),
        "drift_score_3h": short / 4,
        "drift_score_72h": long / 4,
    }


def test_exactly_the_threshold_is_not_drift() -> None:
    assert not report(2, threshold=0.5).drifted


def test_the_sentence_names_verdict_window_champion_detector_and_the_worst_features() -> None:
    assert report(2, 1).sentence() == (
        "drift: 50% of the features, by importance, look otherwise in the last 3 hours than champion 7 was trained on "
        "(threshold 30%), most range, rsi_14; detector scipy-ks"
    )
    quiet = report(note="alibi-detect failed: no numpy", weighted=False).sentence()
    assert quiet.startswith("no drift: 0% of the features, counted alike,")
    assert quiet.endswith("detector scipy-ks (alibi-detect failed: no numpy)")


def test_advice_depends_on_the_window() -> None:
    assert report().advice() == "Nothing is to be done."
    assert "wrong bars first" in report(4, 0).advice()
    assert "new baseline" in report(0, 4).advice()


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in {"src", "href", "srcset"}]
        if tag not in {"meta", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere() -> None:
    text = page(report(2, 1, note="a <b>note</b>"), ["not training: few rows"])
    tags = Tags(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert tags.addresses == []
    assert (tags.seen.count("svg"), tags.seen.count("table")) == (4, 2)
    assert "a &lt;b&gt;note" in text
    assert "<h1>Drift: 50%</h1>" in text
    assert "Not training: few rows." in text


def test_drifted_features_are_pictured_first() -> None:
    found = report(0, 1)
    text = page(found.model_copy(update={"histograms": found.histograms[::-1]}))
    assert text.index("<b>range</b>") < text.index("<b>log_return</b>")
    assert text.count('<figure class="yes">') == 1


def test_where_nothing_was_checked_the_page_says_why() -> None:
    text = page(NotChecked(reason="no baseline <yet>"))
    assert Tags(text).open == []
    assert "<h1>Drift was not checked</h1><p>No baseline &lt;yet&gt;.</p>" in text


def test_reports_are_kept_and_the_same_rows_checked_again_replace_theirs(tmp_path: Path) -> None:
    log = open_delta(tmp_path).log
    assert newest_report(log, "bitcoin") is None
    keep_report(log, report(1), now=END)
    keep_report(log, report(2, data_end=END + timedelta(hours=1)), now=END + timedelta(hours=1))
    keep_report(log, report(4, data_end=END + timedelta(hours=1)), now=END + timedelta(hours=2))
    rows = log.read_drift("bitcoin", columns=["data_end", "score", "drifted", "sentence"])
    assert rows["score"].tolist() == [0.25, 1.0]
    assert rows["drifted"].tolist() == [False, True]
    assert newest_report(log, "bitcoin") == report(4, data_end=END + timedelta(hours=1))
    assert newest_report(log, "ethereum") is None


def test_it_survives_a_journey_as_json() -> None:
    assert DriftReport.model_validate_json(report(1).model_dump_json()) == report(1)
