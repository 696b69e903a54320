"""What the explainer is asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from serving.explainer.options import MAX_LIME_ROWS, MAX_ROWS


class Rows(BaseModel):
    """What is to be explained: the last price of each row, and its features in the bundle's order."""

    model_config = ConfigDict(extra="forbid", strict=True)

    close: Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_ROWS)]
    features: list[list[FiniteFloat]]

    @model_validator(mode="after")
    def _as_many(self) -> Rows:
        if len(self.close) != len(self.features):
            raise ValueError("there must be as many rows of features as closes")
        return self


class Asked(BaseModel):
    """A request: rows, the digest of the manifest of the bundle that answered for them, and whether LIME is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rows: Rows
    bundle: str
    lime: bool = False

    @model_validator(mode="after")
    def _few_enough(self) -> Asked:
        if self.lime and len(self.rows.close) > MAX_LIME_ROWS:
            raise ValueError(f"with lime, at most {MAX_LIME_ROWS} row a request")
        return self
