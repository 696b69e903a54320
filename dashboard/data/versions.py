"""Versions in tables: how good their models are, what the gate said, how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cryptosentinel.bundle import DIRECTION, RANDOM_WALK, Manifest
from cryptosentinel.forecasting import past_verdicts
from cryptosentinel.predicting import Share, wilson
from cryptosentinel.storage import RegisteredModel
from dashboard.data.insights import LEVELS, Registry, Version
from dashboard.text import name

SHRUNK = "shrunk"
SIGNS = {"promoted": "●", "refused": "✕"}
_SPREAD = "spread"


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
