"""What a bundle's models answer: by its tables where it has them, by ONNX Runtime else and for many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.conversion import INPUT
from cryptosentinel.bundle.domain import Domain
from cryptosentinel.bundle.files import DIRECTION
from cryptosentinel.bundle.scoring import Scales, TreeSums, WeightedSums
from cryptosentinel.bundle.tables import Tables, Trees


class Models:
    """Of a loaded bundle. Threads may share it.

    Args:
        session: its graph; None where there is nothing to ask.
        tables: of all its models; None where they cannot be written so.
        domain: what they were trained on; None where it is not known.

    Attributes:
        session: as given.
        names: of the models, in the order of `of_row`.
    """

    def __init__(self, session: Any | None, tables: Tables | None, domain: Domain | None) -> None:
        self.session = session
        self.names: list[str] = [] if session is None else [output.name for output in session.get_outputs()]
        self._tables = tables
        self._domain = domain
        if tables is None:
            return
        self._trees = _tree_sums(tables.trees.values())
        self._weighted = WeightedSums(list(tables.linear.values()), list(tables.clusters.values()))
        self._own = len(self._weighted.scales.columns)
        self._scales = self._weighted.scales
        if domain is not None:  # scaled along with what models weigh
            self._scales = Scales.joined([self._scales, domain.scales])
        self._score = _tree_sums(trees for name, trees in tables.trees.items() if name == DIRECTION)
        # Many rows walk trees quicker than they test all conditions, to the same last bits: a sum is a sum. The rest is
        # computed here, however many rows there are.
        self._walked = [name for name in tables.trees if name != DIRECTION]
        said = [*tables.trees, *tables.linear, *tables.clusters]
        self._order = [said.index(name) for name in self.names]
        self._classifier = said.index(DIRECTION) if DIRECTION in said else None

    def of_row(self, row: NDArray[np.float32]) -> tuple[list[float], float]:
        """Each model's answer to one row, shape (features,), and how unlike the training rows it is.

        The classifier's is the probability of a rise; without a domain nothing is unlike.
        """
        if self._tables is None:
            unlike = 0.0 if self._domain is None else self._domain.dissimilarity(row[None]).item()
            return [said.item() for said in self.of_rows(row[None]).values()], unlike
        precise = row.astype(np.float64)
        scaled = self._scales(precise)
        answers: list[float] = self._trees(row).tolist()
        answers += self._weighted.of_row(scaled[: self._own], precise)
        if self._classifier is not None:
            answers[self._classifier] = float(_probability(answers[self._classifier]))
        unlike = 0.0 if self._domain is None else self._domain.dissimilarity_of_row(scaled[self._own :])
        return [answers[at] for at in self._order], unlike

    def of_rows(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """By name, the same for each row, shape (n,); to the last bit what `of_row` answers."""
        tables = self._tables
        if tables is None:
            said = dict(zip(self.names, self._run(self.names, rows), strict=True))
            return {name: given[:, 1] if name == DIRECTION else given.reshape(-1) for name, given in said.items()}
        walked = zip(self._walked, self._run(self._walked, rows), strict=True)
        answers: dict[str, NDArray[Any]] = {name: given.reshape(-1) for name, given in walked}
        if self._classifier is not None:
            answers[DIRECTION] = _probability(self._score(rows)[:, 0].astype(np.float64))
        precise = rows.astype(np.float64)
        weighed = self._weighted(self._weighted.scales(precise), precise)
        return answers | dict(zip((*tables.linear, *tables.clusters), weighed, strict=True))

    def _run(self, names: list[str], rows: NDArray[np.float32]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = self.session.run(names, {INPUT: rows}) if self.session and names else []
        return answers


def _tree_sums(tables: Iterable[Trees]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    given = list(tables)
    return TreeSums(given) if given else lambda _: np.zeros(0, np.float32)


def _probability(score: Any) -> Any:
    """Of the logarithm of its odds."""
    return 1.0 / (1.0 + np.exp(-score))
