"""What every group of settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, BeforeValidator, ConfigDict

# An environment variable cannot be null: empty says the same of what may be left out.
OrNone = BeforeValidator(lambda value: None if value == "" else value)


class Group(BaseModel):
    """Settings that belong together; frozen, and none beside those it names."""

    # pydantic's own messages show what was given, and that may be a secret.
    model_config = ConfigDict(
        extra="forbid", validate_default=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )
