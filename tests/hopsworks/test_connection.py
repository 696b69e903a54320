"""What is said of a Hopsworks that cannot be asked."""

from __future__ import annotations

import pytest

from cryptosentinel.errors import StorageError, StoreUnavailableError
from cryptosentinel.storage.hopsworks.connection import KEY_VARIABLE, Connection
from tests.hopsworks.builders import SECRET, settings
from tests.hopsworks.double import refused


def ask(connection: Connection, fault: Exception) -> StorageError:
    def question(_: object) -> None:
        raise fault

    with pytest.raises(StorageError) as raised:
        connection.ask("take rows", question)
    return raised.value


def test_it_logs_in_as_the_settings_say(double, cluster):
    Connection(settings().hopsworks, double.login).ask("", lambda _: None)
    assert cluster.logins == [
        {
            "host": "hopsworks.test",
            "port": 443,
            "project": "bitcoin",
            "api_key_value": SECRET,
            "hostname_verification": True,
            "engine": "python",
        }
    ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (ConnectionError("refused"), StoreUnavailableError),
        (TimeoutError(), StoreUnavailableError),
        (refused(503), StoreUnavailableError),
        (refused(429), StoreUnavailableError),
        (refused(401), StorageError),
        (refused(422), StorageError),
        (ValueError("bad"), StorageError),
    ],
    ids=str,
)
def test_away_and_refused_are_told_apart(fault, kind, double, cluster):
    assert type(ask(Connection(settings().hopsworks, double.login), fault)) is kind


def test_after_a_failure_it_logs_in_anew(double, cluster):
    connection = Connection(settings().hopsworks, double.login)
    ask(connection, ConnectionError())
    connection.ask("", lambda _: None)
    connection.ask("", lambda _: None)
    assert len(cluster.logins) == 2


def test_a_refused_key_is_said_so_and_not_shown(double, cluster):
    error = ask(Connection(settings().hopsworks, double.login), refused(401, f"key {SECRET} has expired"))
    assert "refuses the API key" in error.message
    assert "docs/hopsworks.md" in error.remedy
    assert SECRET not in str(error)


def test_what_is_not_set_is_named_and_nobody_is_asked(double, cluster, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    bare = settings(**{"hopsworks.project": "", "hopsworks.api_key": ""}).hopsworks
    with pytest.raises(StorageError, match=r"hopsworks\.project and hopsworks\.api_key are not set"):
        Connection(bare, double.login).ask("", lambda _: None)
    assert cluster.logins == []


def test_the_clients_own_variable_holds_the_key_too(double, cluster, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "from-the-environment")
    Connection(settings(**{"hopsworks.api_key": ""}).hopsworks, double.login).ask("", lambda _: None)
    assert cluster.logins[0]["api_key_value"] == "from-the-environment"
