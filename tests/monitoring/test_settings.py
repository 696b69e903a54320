"""Where metrics go is a setting; what is no address, or holds a password that every run would show, is refused."""

from __future__ import annotations

import json

import pytest

from cryptosentinel.config import load_settings
from cryptosentinel.errors import SettingsError


@pytest.mark.parametrize("name", ["pushgateway_url", "otlp_url"])
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("pushgateway:9091", "must begin with http"),
        ("http://", "name a host"),
        ("http://ann:s3cret@pushgateway:9091", "must not hold a password"),
    ],
)
def test_an_address_is_one(name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load_settings(environ={}, overrides={f"monitoring.{name}": value})


@pytest.mark.parametrize("label", ["job", "market", "step", "le-gal", "__name__", "1st"])
def test_a_label_is_one_that_is_free(label: str) -> None:
    with pytest.raises(SettingsError, match=r"monitoring\.labels"):
        load_settings(environ={}, overrides={"monitoring.labels": {label: "x"}})


def test_a_password_is_somebodys_and_stays_out_of_runs() -> None:
    with pytest.raises(SettingsError, match="pushgateway_user"):
        load_settings(environ={}, overrides={"monitoring.pushgateway_password": "s3cret"})
    given = {
        "CRYPTOSENTINEL_MONITORING__PUSHGATEWAY_URL": "http://pushgateway:9091/",
        "CRYPTOSENTINEL_MONITORING__PUSHGATEWAY_USER": "ann",
        "CRYPTOSENTINEL_MONITORING__PUSHGATEWAY_PASSWORD": "s3cret",
        "CRYPTOSENTINEL_MONITORING__LABELS": "{namespace: forecasts, shard: 1}",
    }
    settings = load_settings(environ=given)
    assert settings.monitoring.pushgateway_url == "http://pushgateway:9091"
    assert settings.monitoring.labels == {"namespace": "forecasts", "shard": "1"}
    assert "s3cret" not in settings.public_json()
    assert json.loads(settings.public_json())["monitoring"]["pushgateway_user"] == "ann"
