"""Every error this project raises on purpose.

    CryptoSentinelError              exit code 1: a fault
    |-- UserInputError               exit code 2: what was asked for cannot be done as asked
    |   |-- SettingsError            an unknown or malformed setting
    |   |-- MarketDataError          a file of bars that cannot be read as bars
    |   `-- HomeInUseError           another process runs on the same home folder
    |-- NotEnoughDataError           fewer rows than a step needs
    |-- SourceError                  a market source failed
    |   |-- SourceUnavailableError   it did not answer in time, or not at all
    |   |-- RateLimitedError         it asked us to come back later
    |   `-- SourceAnswerError        it answered something that is not market data
    |-- StorageError                 a store failed
    |   |-- StoreUnavailableError    it cannot be reached, read or written (gone, read-only, full)
    |   |-- StoreFormatError         it was written by an unknown version
    |   `-- StoreConflictError       somebody else changed it first
    |-- BundleError                  a model bundle cannot be used
    |   |-- BundleDamagedError       a file is missing or its digest differs
    |   |-- BundleFormatError        its format version is unknown
    |   `-- SpecMismatchError        its features are not the ones offered
    |-- ServingError                 the predictor failed, or answered something else than a forecast
    |-- DeliveryError                an alert was not delivered
    |-- RolloutError                 a version was not brought to serve in the cluster
    |   `-- RolledBackError          it was tried and did not serve: what served before serves again
    |-- KubeflowError                Kubeflow Pipelines refused what was asked of it
    |   `-- KubeflowUnavailableError it did not answer in time, or not at all
    `-- PipelineError                a pipeline step failed; names the step, the cause and the remedy

Catch the narrowest type that you can act on.
"""

from __future__ import annotations


class CryptoSentinelError(Exception):
    """A failure that is explained to the person who caused it or has to mend it.

    Attributes:
        remedy: what to do about it, as a sentence; empty where the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    @property
    def message(self) -> str:
        """What happened, without the remedy."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # An exception's own way calls `__init__` with `args`; here that takes more, and a process pool would break.
        return type(self).__new__, (type(self), *self.args), vars(self)


class UserInputError(CryptoSentinelError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class SettingsError(UserInputError):
    """A setting is unknown or malformed; the message names it."""


class MarketDataError(UserInputError):
    """A file of bars is truncated, lacks a column, or holds something that is not a number or a time."""


class HomeInUseError(UserInputError):
    """Another process already runs on this home folder."""


class NotEnoughDataError(CryptoSentinelError):
    """A step got fewer rows than it needs."""

    def __init__(self, what: str, *, have: int, need: int, remedy: str = "") -> None:
        super().__init__(f"{what}: have {have:,} rows, need at least {need:,}.", remedy=remedy)
        self.have = have
        self.need = need


class SourceError(CryptoSentinelError):
    """A market source failed."""


class SourceUnavailableError(SourceError):
    """A market source did not answer within its time-outs and retries."""


class RateLimitedError(SourceError):
    """A market source asked us to come back later.

    Attributes:
        retry_after_s: seconds to wait, where the source said so.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class SourceAnswerError(SourceError):
    """A market source answered something that is not market data."""


class StorageError(CryptoSentinelError):
    """A store failed."""


class StoreUnavailableError(StorageError):
    """A store cannot be reached, read or written."""


class StoreFormatError(StorageError):
    """A store was written by an unknown version of this project."""


class StoreConflictError(StorageError):
    """Somebody else changed the same thing first, and retrying did not help."""


class BundleError(CryptoSentinelError):
    """A model bundle cannot be used."""


class BundleDamagedError(BundleError):
    """A file of a bundle is missing, or differs from the digest in its manifest."""


class BundleFormatError(BundleError):
    """A bundle has a format version that this release does not know."""


class SpecMismatchError(BundleError):
    """A bundle was built for other features than the ones offered."""


class ServingError(CryptoSentinelError):
    """The predictor failed, or answered something that is not a forecast."""


class DeliveryError(CryptoSentinelError):
    """An alert was not delivered.

    Attributes:
        away: the receiver cannot take anything now, rather than this one alert.
        retry_after_s: seconds to wait, where the receiver said so.
    """

    def __init__(self, message: str, *, away: bool, retry_after_s: float = 0.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.away = away
        self.retry_after_s = retry_after_s


class RolloutError(CryptoSentinelError):
    """A version was not brought to serve: the cluster cannot be asked, refuses, or somebody else is at it."""


class RolledBackError(RolloutError):
    """A version was tried in the cluster and did not serve; the service was led back to what served before."""


class KubeflowError(CryptoSentinelError):
    """Kubeflow Pipelines refused what was asked of it, or answered something else."""


class KubeflowUnavailableError(KubeflowError):
    """Kubeflow Pipelines did not answer within its time-outs and retries."""


class PipelineError(CryptoSentinelError):
    """A pipeline step failed.

    Attributes:
        step: the name of the step.
        cause: the type of the error in it, e.g. `NotEnoughDataError`; empty where it did not say.
    """

    def __init__(self, step: str, message: str, *, remedy: str = "", exit_code: int = 1, cause: str = "") -> None:
        super().__init__(f"Step '{step}' failed: {message}", remedy=remedy)
        self.step = step
        self.cause = cause
        self.exit_code = exit_code  # the cause's: a step may fail over the user's input
