"""What the last page shows: the state of each part, figures with where they come from, versions and licences."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from typing import Literal

import pandas as pd

from cryptosentinel import __version__
from cryptosentinel.bundle import RANDOM_WALK, Manifest, read_manifest
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.forecasting.evaluation import SHRUNK
from cryptosentinel.monitoring import Status, read_status
from cryptosentinel.monitoring.status import Part as About
from cryptosentinel.predicting import Share
from cryptosentinel.workspace import Workspace
from dashboard import text
from dashboard.zone import Zone

State = Literal["ok", "problem", "running", "nothing"]
# By state: a sign, and a word.
STATES: dict[State, tuple[str, str]] = {
    "ok": ("✓", "well"),
    "problem": ("!", "problem"),
    "running": ("…", "running"),
    "nothing": ("○", "nothing yet"),
}
NOT_THERE = "not there"
# What the dashboard itself stands on; the pipelines and the predictor have more.
LIBRARIES = ("streamlit", "plotly", "pandas", "numpy", "deltalake", "pyarrow", "pydantic", "ta-lib")


@dataclass(frozen=True)
class Part:
    """A part of the platform as it is now.

    Attributes:
        does: what it is for.
        says: how it stands.
        page: that shows more of it, as in its address.
    """

    name: str
    does: str
    state: State
    says: str
    page: str


@dataclass(frozen=True)
class Now:
    """The platform as it stands.

    Attributes:
        manifest: of the champion; None where there is none, or it cannot be read.
    """

    status: Status
    manifest: Manifest | None


def read_now(workspace: Workspace) -> Now:
    """Reads what the stores say of each part, and what the champion says of itself."""
    status, manifest = read_status(workspace), None
    if status.champion is not None:
        try:
            fetched = workspace.storage.registry.fetch(status.champion.version, workspace.root / "bundles")
            manifest = read_manifest(fetched)
        except CryptoSentinelError:  # the status names it as a problem
            pass
    return Now(status, manifest)


def parts(status: Status, zone: Zone) -> list[Part]:
    """Every part, in the order in which a bar becomes a forecast and a forecast an alert."""
    now = status.as_of
    runs = {run.pipeline: run for run in status.pipelines}
    wrong = {problem.about for problem in status.problems}

    def told(moment: datetime | None, before: str, nothing: str) -> str:
        return nothing if moment is None else f"{before} {zone.told(moment, now)}"

    def part(name: str, does: str, about: About, there: object, says: str, page: str) -> Part:
        state: State = "problem" if about in wrong else "ok" if there is not None else "nothing"
        return Part(name, does, state, says, page)

    def pipeline(name: str, does: str) -> Part:
        run = runs[name]
        states: dict[str, State] = {"ok": "ok", "failed": "problem", "running": "running", "never": "nothing"}
        says = {
            "ok": told(run.ended_at, "ended at", ""),
            "failed": f"step {run.step} failed",
            "running": f"step {run.step}",
            "never": told(run.next_at, "first at", "not scheduled"),
        }[run.outcome]
        return Part(f"{text.name(name)} pipeline", does, states[run.outcome], says, "pipelines")

    champion, newest, count = status.champion, status.newest, len(status.alerts)
    score = status.facts.drift if status.drift_score is None else status.drift_score
    settled = f"{status.accuracy.settled:,} settled in {status.window_days:g} days"
    return [
        part(
            "Market",
            status.market,
            "market",
            status.bar_closed_at,
            told(status.bar_closed_at, "bar of", "no bars yet"),
            "",
        ),
        pipeline("feature", "Fetches bars, cleans them, computes features."),
        part(
            "Feature store",
            "Bars and features in Delta Lake.",
            "features",
            status.features_to,
            told(status.features_to, "up to", "no features yet"),
            "analysis",
        ),
        part(
            "Drift check",
            "Does the market still look like the champion's?",
            "drift",
            status.drift_checked_at,
            "not checked yet"
            if status.drift_checked_at is None
            else f"score {text.share(score)} of {text.share(status.drift_threshold)}",
            "drift",
        ),
        pipeline("training", "Fits every candidate, measures on unseen rows."),
        part(
            "Gate and registry",
            "Only what luck does not explain serves.",
            "champion",
            champion,
            "no version yet" if champion is None else f"version {champion.version} is champion",
            "insights",
        ),
        part(
            "Predictor, explainer",
            "KServe serves the champion, with SHAP and LIME.",
            "forecasts",
            newest,
            told(newest.made_at if newest else None, "answered for", "not asked yet"),
            "insights",
        ),
        pipeline("inference", "Settles, forecasts, adjusts, alerts."),
        part(
            "Forecast log",
            "Every forecast, and what came of it.",
            "forecasts",
            newest,
            settled if newest else "no forecasts yet",
            "forecasts",
        ),
        part(
            "Alerts",
            "What somebody has to know.",
            "alerts",
            status,
            f"{count} open" if count else "none open",
            "alerts",
        ),
    ]


def figures(now: Now, zone: Zone) -> dict[str, dict[str, str]]:
    """What was measured, by what it was measured on: the forecasts that were made, and the champion's last block."""
    found = {on: dict(rows) for on, rows in (_of_record(now.status), _of_champion(now, zone))}
    return {on: rows for on, rows in found.items() if rows}


def _of_record(status: Status) -> tuple[str, list[tuple[str, str]]]:
    accuracy = status.accuracy
    on = f"{accuracy.settled:,} settled forecasts of the last {status.window_days:g} days, with 95% intervals"
    if not accuracy.settled:
        return on, []

    def of(share: Share) -> str:
        return f"{share.value:.1%} ({share.lower:.1%} to {share.upper:.1%})"

    skill = accuracy.skill
    rows = [
        ("Squared error below the random walk's", f"{skill.value:+.2%} ({skill.lower:+.2%} to {skill.upper:+.2%})"),
        ("Mean error, relative to the price", f"{accuracy.error:.3%}; the random walk's {accuracy.baseline_error:.3%}"),
    ]
    if accuracy.called:
        rows.append((f"Directions right, of {accuracy.called:,} calls that moved; a coin has 50%", of(accuracy.hits)))
    rows += [(f"Prices within the {level}% range", of(covered)) for level, covered in accuracy.covered.items()]
    return on, rows


def _of_champion(now: Now, zone: Zone) -> tuple[str, list[tuple[str, str]]]:
    manifest, champion = now.manifest, now.status.champion
    if manifest is None or manifest.data is None or champion is None:
        return "", []
    data, asked = manifest.data, now.status.as_of
    on = (
        f"Version {champion.version}'s last block: {data.holdout_rows:,} rows that nothing was fitted on, "
        f"{zone.told(data.holdout_start, asked)} to {zone.told(data.end, asked)}"
    )
    spread, direction = manifest.metrics.get("spread", {}), manifest.metrics.get("direction", {})
    served = manifest.metrics.get(RANDOM_WALK if manifest.champion == RANDOM_WALK else SHRUNK, {})
    rows = [
        ("Squared error below the random walk's", served.get("skill"), "{:+.2%}"),
        ("Pinball loss of the nine quantiles", spread.get("pinball_bp"), "{:.2f} bp"),
        ("Prices within the 80% range", spread.get("coverage_80"), "{:.1%}"),
        ("Prices within the 95% range", spread.get("coverage_95"), "{:.1%}"),
        ("Directions right; a coin has 50%", direction.get("accuracy"), "{:.1%}"),
        ("Brier skill of the chance of a rise", direction.get("brier_skill"), "{:+.2%}"),
    ]
    return on, [(name, written.format(value)) for name, value, written in rows if value is not None]


def versions(now: Now) -> pd.DataFrame:
    """What runs here, and what the champion was made with."""
    made_with = now.manifest.libraries if now.manifest else {}
    here = {"cryptosentinel": __version__, "Python": platform.python_version()}
    here |= {name: found for name in (*LIBRARIES, *made_with) if name not in here and (found := _installed(name))}
    names = [*here, *(name for name in made_with if name not in here)]
    rows = [(name, here.get(name, NOT_THERE), made_with.get(name, NOT_THERE)) for name in names]
    return pd.DataFrame(rows, columns=["what", "this dashboard", "the champion"])


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def licences() -> pd.DataFrame:
    """Every package that is installed here, and what its own metadata says of its licence. Nobody may change it."""
    found = {each.metadata["Name"]: (each.version, licence_of(each)) for each in distributions()}
    rows = [(name, *found[name]) for name in sorted(found, key=str.lower) if name]
    return pd.DataFrame(rows, columns=["package", "version", "licence"])


def licence_of(package: Distribution) -> str:
    """An SPDX expression where there is one; else what the classifiers say, or the first line of the licence."""

    def said(field: str) -> list[str]:
        return package.metadata.get_all(field) or []

    if expressions := said("License-Expression"):
        return str(expressions[0])
    classified = [line.rpartition(" :: ")[2] for line in said("Classifier") if line.startswith("License ::")]
    named = [name for name in classified if name != "OSI Approved"]
    if named:
        return ", ".join(named)
    lines = "".join(said("License")[:1]).strip().splitlines()
    return lines[0][:60] if lines and lines[0].strip() != "UNKNOWN" else "not said"
