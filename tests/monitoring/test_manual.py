"""The manual's table of metrics is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from cryptosentinel.config import MonitoringSettings
from cryptosentinel.monitoring import METRICS

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")


def test_every_metric_is_in_the_manual_with_its_step_labels_and_words() -> None:
    rows = [line for line in MANUAL.splitlines() if line.startswith("| `cryptosentinel_")]
    assert rows == [
        f"| `{metric.name}` | {metric.step or 'every step'} | "
        f"{', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in METRICS
    ]


def test_every_setting_is_in_the_manual() -> None:
    named = set(re.findall(r"`(?:monitoring)?\.(\w+)`", MANUAL))
    assert set(MonitoringSettings.model_fields) - named == set()
