"""What the models are and how good: versions, their figures and cards, and what the log says of their forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.bundle import DIRECTION, RANDOM_WALK, Manifest, read_manifest
from cryptosentinel.drift import newest_report
from cryptosentinel.errors import BundleFormatError
from cryptosentinel.forecasting import past_verdicts
from cryptosentinel.predicting import Share, independent_outcomes, share_of, wilson
from cryptosentinel.storage import RegisteredModel
from cryptosentinel.workspace import Workspace
from dashboard.text import name

CARD_FILE = "MODEL_CARD.md"
# Central intervals that are logged, in percent.
LEVELS = (50, 80, 90, 95)
# Bins of a calibration curve, and how many outcomes that do not overlap one is to have.
MOST_BINS, BIN_OUTCOMES = 10, 10
# Of thousands of versions the newest are shown, of the log the forecasts of so long.
NEWEST_VERSIONS = 200
LOG_WINDOW = timedelta(days=90)
SHRUNK = "shrunk"
SIGNS = {"promoted": "●", "refused": "✕"}
_SPREAD = "spread"


@dataclass(frozen=True)
class Registry:
    """The versions, newest first.

    Attributes:
        versions: the newest `NEWEST_VERSIONS`, and the one that serves.
        champion: the number of the one that serves; None while there is none.
        count: how many there are in all.
    """

    versions: tuple[RegisteredModel, ...]
    champion: int | None
    count: int

    def get(self, version: int) -> RegisteredModel:
        """One of `versions`."""
        return next(model for model in self.versions if model.version == version)


@dataclass(frozen=True)
class Version:
    """A version and what its bundle says of itself.

    Attributes:
        model: what the registry knows.
        manifest: None where the bundle was pruned, or is of an earlier release.
        card: its model card, Markdown; empty where there is none.
    """

    model: RegisteredModel
    manifest: Manifest | None
    card: str

    @property
    def trained(self) -> Manifest | None:
        """The manifest of a bundle that was trained and measured."""
        return self.manifest if self.manifest is not None and self.manifest.data is not None else None

    @property
    def independent(self) -> int:
        """How many outcomes that do not overlap its figures rest on; 0 where none was measured."""
        return round(self.manifest.gate.figures.get("independent_labels", 0)) if self.manifest else 0


@dataclass(frozen=True)
class Reliability:
    """Forecasts of similar probability: how likely they said a rise was on average, and how often the price rose."""

    forecast: float
    rose: Share
    count: int


@dataclass(frozen=True)
class Record:
    """What the settled forecasts of the log say of calibration and coverage.

    Attributes:
        settled: how many.
        since: when the first of them was made; None where there is none.
        reliability: from the lowest probability to the highest.
        covered: by the level in percent, how often the price was within the interval.
    """

    settled: int
    since: datetime | None
    reliability: tuple[Reliability, ...]
    covered: Mapping[int, Share]


def read_registry(workspace: Workspace) -> Registry:
    """The versions; raises `StorageError` where they cannot be read."""
    registry = workspace.storage.registry
    champion, versions = registry.champion(), registry.versions()[::-1]
    serves = None if champion is None else champion.version
    shown = [model for at, model in enumerate(versions) if at < NEWEST_VERSIONS or model.version == serves]
    return Registry(tuple(shown), serves, len(versions))


def read_version(workspace: Workspace, number: int) -> Version:
    """A version with its manifest and card.

    Raises:
        StorageError: there is no such version, or its bundle cannot be had.
        BundleDamagedError: what it says of itself cannot be read.
    """
    model = workspace.storage.registry.get(number)
    if model.pruned_at is not None:
        return Version(model, None, "")
    path = workspace.bundle(number)
    card = path / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    try:
        return Version(model, read_manifest(path), text)
    except BundleFormatError:
        return Version(model, None, text)


def read_forecast_times(workspace: Workspace, count: int) -> pd.DataFrame:
    """The newest forecasts, newest first: `made_at`, `target_at` and `bundle_version`."""
    log, asset = workspace.storage.log, workspace.settings.market.asset
    newest = workspace.storage.features.last_timestamp(asset)
    if newest is None:
        return pd.DataFrame()
    start = newest - 2 * count * workspace.spec.interval.delta
    columns = ["made_at", "target_at", "bundle_version"]
    return log.read_forecasts(asset, start, columns=columns).tail(count).iloc[::-1].reset_index(drop=True)


def read_weights(workspace: Workspace) -> tuple[int, dict[str, float]] | None:
    """The version that the newest drift check was of, and each feature's share in what it answers, largest first.

    That is permutation importance (`drift.importances`), measured where the bundle can be asked; None where there was
    no check yet, or it counted all features alike.
    """
    report = newest_report(workspace.storage.log, workspace.settings.market.asset)
    if report is None or not report.weighted:
        return None
    weights = {feature.feature: feature.weight for feature in report.windows[0].features}
    return report.version, dict(sorted(weights.items(), key=lambda item: -item[1]))


def read_record(workspace: Workspace, version: int | None) -> Record:
    """Calibration and coverage of the logged forecasts of the last `LOG_WINDOW`.

    Args:
        workspace: the market.
        version: whose; None: of all versions.
    """
    asset, newest = (
        workspace.settings.market.asset,
        workspace.storage.features.last_timestamp(workspace.settings.market.asset),
    )
    bounds = [f"{side}_{level}" for level in LEVELS for side in ("lower", "upper")]
    columns = ["made_at", "target_at", "price", "actual_price", "p_up", "bundle_version", *bounds]
    start = None if newest is None else newest - LOG_WINDOW
    log = workspace.storage.log.read_forecasts(asset, start, columns=columns)
    log = log[log["actual_price"].notna() & (version is None or log["bundle_version"] == version)]
    return Record(
        settled=len(log),
        since=log["made_at"].iloc[0].to_pydatetime() if len(log) else None,
        reliability=_reliability(log[log["p_up"].notna()]),
        covered={level: _covered(log, level) for level in LEVELS if log[f"lower_{level}"].notna().any()},
    )


def _reliability(log: pd.DataFrame) -> tuple[Reliability, ...]:
    """Bins of about equally many forecasts; those with the same probability stay together."""
    if log.empty:
        return ()
    bins = min(MOST_BINS, max(2, independent_outcomes(log) // BIN_OUTCOMES))
    edges = np.unique(np.quantile(log["p_up"], np.linspace(0, 1, bins + 1)))
    number = np.searchsorted(edges[1:-1], log["p_up"], side="left")
    rose = log["actual_price"] > log["price"]
    return tuple(
        Reliability(float(rows["p_up"].mean()), share_of(rose[rows.index], independent_outcomes(rows)), len(rows))
        for _, rows in log.groupby(number)
    )


def _covered(log: pd.DataFrame, level: int) -> Share:
    known = log[log[f"lower_{level}"].notna()]
    inside = known["actual_price"].between(known[f"lower_{level}"], known[f"upper_{level}"])
    return share_of(inside, independent_outcomes(known))


def held_out(version: Version) -> dict[int, Share]:
    """How often the price was within the version's intervals on rows that no model was fitted on, by level."""
    figures = version.trained.metrics.get(_SPREAD, {}) if version.trained else {}
    return {
        level: Share(value, *wilson(value, version.independent), version.independent)
        for level in LEVELS
        if (value := figures.get(f"coverage_{level}")) is not None
    }


def league(version: Version) -> pd.DataFrame:
    """How good candidates and baselines were on rows that none was fitted on, best first.

    Columns: `Forecast`, `Serves`, `RMSE bp`, `MAE bp`, `R2`, `Skill` and `Direction` in percent, `95% interval` of the
    direction in words, `RMSE price`. No rows where nothing was measured.
    """
    if version.trained is None:
        return pd.DataFrame()
    measured = {label: m for label, m in version.trained.metrics.items() if label not in {DIRECTION, _SPREAD}}
    served = RANDOM_WALK if version.trained.champion == RANDOM_WALK else SHRUNK
    rows = []
    for label, m in sorted(measured.items(), key=lambda item: np.nan_to_num(item[1]["rmse"], nan=np.inf)):
        right = m.get("direction_accuracy")
        low, high = (np.nan, np.nan) if right is None else wilson(right, version.independent)
        rows.append(
            {
                "Forecast": name(label),
                "Serves": "● serves" if label == served else "",
                "RMSE bp": 1e4 * m["rmse"],
                "MAE bp": 1e4 * m["mae"],
                "R2": m["r2"],
                "Skill": 100 * m["skill"],
                "Direction": np.nan if right is None else 100 * right,
                "95% interval": "" if np.isnan(low) else f"{low:.0%} to {high:.0%}",
                "RMSE price": m["rmse_price"],
            }
        )
    return pd.DataFrame(rows)


def verdict(model: RegisteredModel) -> tuple[str, str]:
    """What came of a version in a word with its sign, and why."""
    word, colon, why = model.verdict.partition(":")
    if not colon or model.version == 0:
        return "■ first", model.verdict
    return f"{SIGNS.get(word, '▬')} {word}", why.strip()


def gate_history(registry: Registry) -> pd.DataFrame:
    """Every version's way through the gate, newest first.

    Columns: `Version`, `Serves`, `Verdict`, `Registered`, `Data to`, `Skill` in percent, `RMSE bp`, `MAE bp`,
    `Formal look`, `Why`, `Bundle`.
    """
    rows = []
    for model in registry.versions:
        word, why = verdict(model)
        past = past_verdicts([model])
        m = model.metrics
        rows.append(
            {
                "Version": model.version,
                "Serves": "● serves" if model.version == registry.champion else "",
                "Verdict": word,
                "Registered": model.registered_at,
                "Data to": past[0].data_end if past else pd.NaT,
                "Skill": 100 * m.get("skill", np.nan),
                "RMSE bp": 1e4 * m.get("rmse", np.nan),
                "MAE bp": 1e4 * m.get("mae", np.nan),
                "Formal look": "" if not past else "yes" if past[0].look else "no",
                "Why": why,
                "Bundle": "there" if model.pruned_at is None else f"deleted {model.pruned_at:%Y-%m-%d}",
            }
        )
    return pd.DataFrame(rows)


def figures(version: Version) -> dict[str, str]:
    """A version's figures by what they are called, in words."""
    m, trained = version.model.metrics, version.trained
    shown = {"Verdict": verdict(version.model)[0], "Registered": f"{version.model.registered_at:%Y-%m-%d %H:%M} UTC"}
    if trained is not None and trained.data is not None:
        data, gate = trained.data, trained.gate.figures
        direction, spread = trained.metrics.get(DIRECTION, {}), trained.metrics.get(_SPREAD, {})
        weights = ", ".join(f"{name(label)} {weight:.0%}" for label, weight in sorted(trained.blend.items()))
        shown |= {
            "Price that is served": "stays where it is" if trained.champion == RANDOM_WALK else "shrunk blend",
            "Blend": weights,
            "Share of the blend believed": f"{trained.shrinkage:.1%}",
            "Rows fitted on": f"{data.training_rows:,}",
            "Data": f"{data.start:%Y-%m-%d %H:%M} to {data.end:%Y-%m-%d %H:%M} UTC",
            "Unseen rows": f"{data.holdout_rows:,}, of which {version.independent:,} do not overlap",
            **_written(gate, {"information_t": ("Blend, Clark-West t", "+.2f")}),
            **_written(spread, {"pinball_bp": ("Pinball loss, bp", ".3f")}),
            **_written(spread, {f"coverage_{level}": (f"Inside {level}%", ".1%") for level in LEVELS}),
            **_written(
                direction,
                {
                    "accuracy": ("Direction right", ".1%"),
                    "base_rate": ("Always the more frequent direction", ".1%"),
                    "brier_skill": ("Direction, Brier skill", "+.3%"),
                    "calibration_error": ("Direction, calibration error", ".2%"),
                },
            ),
        }
    return shown | _written(
        m,
        {
            "skill": ("Skill of the served price", "+.3%"),
            "rmse": ("RMSE of the log return", ".6f"),
            "mae": ("MAE of the log return", ".6f"),
            "r2": ("R2", "+.4f"),
            "rmse_price": ("RMSE of the price", ",.2f"),
        },
    )


def _written(values: Mapping[str, float], wanted: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {label: f"{values[key]:{form}}" for key, (label, form) in wanted.items() if key in values}


def side_by_side(left: Mapping[str, str], right: Mapping[str, str], columns: Sequence[str]) -> pd.DataFrame:
    """What two versions say, a row each, in the order of the first; a sign where they differ.

    Args:
        left: by name.
        right: by name.
        columns: what to call them.
    """
    names = [*left, *(label for label in right if label not in left)]
    values = [(left.get(label, "—"), right.get(label, "—")) for label in names]
    return pd.DataFrame(
        {
            "≠": ["" if one == other else "≠" for one, other in values],
            "Figure": names,
            columns[0]: [one for one, _ in values],
            columns[1]: [other for _, other in values],
        }
    )


def settings_that_differ(left: Version, right: Version) -> dict[str, tuple[str, str]]:
    """Settings of the training, libraries and shape, by name, that are not the same in both."""
    one, other = (_settings(version.manifest) for version in (left, right))
    return {
        label: (one.get(label, "—"), other.get(label, "—"))
        for label in sorted(one.keys() | other.keys())
        if one.get(label) != other.get(label)
    }


def _settings(manifest: Manifest | None) -> dict[str, str]:
    if manifest is None:
        return {}
    own = {"horizon_bars": manifest.horizon_bars, "interval": manifest.interval, "spec": manifest.spec_hash[:12]}
    libraries = {f"library {library}": version for library, version in manifest.libraries.items()}
    return {label: str(value) for label, value in (own | dict(manifest.settings) | libraries).items()}


def features_that_differ(left: Version, right: Version) -> tuple[list[str], list[str]]:
    """The features that only the first was fitted on, and those that only the second was."""
    one, other = (version.manifest.features if version.manifest else [] for version in (left, right))
    return [each for each in one if each not in other], [each for each in other if each not in one]
