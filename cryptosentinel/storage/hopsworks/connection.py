"""A Hopsworks project, asked through the official client, within a time.

The client may wait for ever and raises what its many libraries raise; here every question has an end, and fails with
this project's errors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from cryptosentinel.config import HopsworksSettings
from cryptosentinel.errors import StorageError, StoreUnavailableError

T = TypeVar("T")
KEY_VARIABLE = "HOPSWORKS_API_KEY"  # the client's own
_AWAY = ("OperationalError", "InterfaceError", "FlightUnavailableError", "FlightTimedOutError")


class Connection:
    """A project that is logged in to when it is first asked, and again after a failure.

    Args:
        settings: which project.
        login: as `hopsworks.login`, which it is by default.
    """

    def __init__(self, settings: HopsworksSettings, login: Callable[..., Any] | None = None) -> None:
        self.settings = settings
        self._login = login
        self._project: Any = None

    def ask(self, what: str, question: Callable[[Any], T], *, timeout_s: float | None = None) -> T:
        """What `question` answers of the project.

        A question that takes too long is left behind, and may still do what it asked for.

        Args:
            what: completes "Hopsworks did not ..." in messages.
            question: is given `hopsworks.project.Project`.
            timeout_s: by default the setting.

        Raises:
            StoreUnavailableError: it cannot be reached, or not in time; it may have done what it was asked.
            StorageError: it refuses, or the settings do not say which project.
        """
        try:
            project = self._project or within(self.settings.timeout_s, self._logged_in)
            self._project = project
            return within(timeout_s or self.settings.timeout_s, lambda: question(project))
        except StorageError:
            raise
        except Exception as error:
            self._project = None
            raise self._explanation(what, error) from error

    def _logged_in(self) -> Any:
        settings = self.settings
        key = settings.api_key.get_secret_value() if settings.api_key else os.environ.get(KEY_VARIABLE)
        given = {"host": settings.host, "project": settings.project, "api_key": key}
        if missing := [f"hopsworks.{name}" for name, value in given.items() if not value]:
            # The client would ask a person for them, on the terminal.
            raise StorageError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.",
                remedy="Set CRYPTOSENTINEL_HOPSWORKS__HOST, __PROJECT and __API_KEY; a key is made in Hopsworks under"
                " Account Settings, API.",
            )
        login = self._login
        if login is None:
            try:
                import hopsworks
            except ModuleNotFoundError as error:
                raise StorageError(
                    f"The Hopsworks client is not here ({error}).",
                    remedy="It is in requirements/main.txt, and in the image `pipeline`.",
                ) from error
            login = hopsworks.login
        return login(
            host=settings.host,
            port=settings.port,
            project=settings.project,
            api_key_value=key,
            hostname_verification=settings.verify_hostname,
            engine=settings.engine,
        )

    def _explanation(self, what: str, error: Exception) -> StorageError:
        where = f"Hopsworks at {self.settings.host}:{self.settings.port}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        text = " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
        if self.settings.api_key:
            text = text.replace(self.settings.api_key.get_secret_value(), "***")
        if status in {401, 403}:
            return StorageError(
                f"{where} did not {what}: it refuses the API key ({text}).",
                remedy="Make a key that has not expired and has the scopes named in docs/hopsworks.md, for a member of"
                f" the project {self.settings.project}.",
            )
        if isinstance(error, TimeoutError) and not str(error):
            text = "no answer in time"
        away = isinstance(error, OSError) or type(error).__name__ in _AWAY
        if away or (status is not None and (status >= 500 or status in {408, 429})):
            return StoreUnavailableError(
                f"{where} did not {what}: {text}.", remedy="What it was to be given waits, and is given to it later."
            )
        return StorageError(f"{where} did not {what}: {text}.", remedy="Try `cryptosentinel hopsworks check`.")


def within(timeout_s: float, call: Callable[[], T]) -> T:
    """The call's answer.

    Raises:
        TimeoutError: there was none in time; the call goes on, and nobody hears of its answer.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            answer.set_exception(error)

    # Not a pool: the interpreter would wait at its end for what never ends.
    threading.Thread(target=run, name="hopsworks", daemon=True).start()
    return answer.result(timeout_s)
