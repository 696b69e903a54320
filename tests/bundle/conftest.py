"""A trained bundle, made as in `tests.forecasting`."""

from tests.forecasting.conftest import bundle, parts

__all__ = ["bundle", "parts"]
