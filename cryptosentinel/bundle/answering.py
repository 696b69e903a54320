"""What a bundle's models answer: by its tables where it has them, by ONNX Runtime else and for many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle.conversion import INPUT
from cryptosentinel.bundle.files import DIRECTION
from cryptosentinel.bundle.inference import Array
from cryptosentinel.bundle.scoring import LinearSums, Nearest, Tables, TreeSums


class Models:
    """Of a loaded bundle. Threads may share it.

    Args:
        session: its graph; None where there is nothing to ask.
        tables: of all its models; None where they cannot be written so.

    Attributes:
        session: as given.
        names: of the models, in the order of `of_row`.
    """

    def __init__(self, session: Any | None, tables: Tables | None) -> None:
        self.session = session
        self.names: list[str] = [] if session is None else [output.name for output in session.get_outputs()]
        self._tables = tables
        if tables is None:
            return
        self._trees = _sums(TreeSums, tables.trees.values())
        self._linear = _sums(LinearSums, tables.linear.values())
        self._nearest = [Nearest(table) for table in tables.clusters.values()]
        self._score = _sums(TreeSums, [trees for name, trees in tables.trees.items() if name == DIRECTION])
        # Many rows walk trees quicker than they test all conditions, to the same last bits: a sum is a sum. The rest is
        # computed here, however many rows there are.
        self._walked = [name for name in tables.trees if name != DIRECTION]
        said = [*tables.trees, *tables.linear, *tables.clusters]
        self._order = [said.index(name) for name in self.names]
        self._classifier = said.index(DIRECTION) if DIRECTION in said else None

    def of_row(self, row: NDArray[np.float32]) -> list[float]:
        """Each model's answer to one row, shape (1, features); the classifier's is the probability of a rise."""
        if self._tables is None:
            said = dict(zip(self.names, self._run(self.names, row), strict=True))
            return [said[name][0, 1].item() if name == DIRECTION else said[name].item() for name in self.names]
        values = row[0]
        precise = values.astype(np.float64)
        answers: list[float] = self._trees(values).tolist()
        answers += [answer.item() for answer in self._linear(precise)]
        answers += [nearest(precise).item() for nearest in self._nearest]
        if self._classifier is not None:
            answers[self._classifier] = _probability(np.array(answers[self._classifier])).item()
        return [answers[at] for at in self._order]

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
        answers |= zip(tables.linear, self._linear(precise), strict=True)
        return answers | {name: of(precise) for name, of in zip(tables.clusters, self._nearest, strict=True)}

    def _run(self, names: list[str], rows: NDArray[np.float32]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = self.session.run(names, {INPUT: rows}) if self.session and names else []
        return answers


def _sums(kind: Callable[[list[Any]], Any], tables: Iterable[Any]) -> Callable[[NDArray[Any]], Any]:
    """What adds up the tables' models; of none, nothing."""
    given = list(tables)
    return kind(given) if given else lambda _: np.array([])


def _probability(score: Array) -> Array:
    """Of the logarithm of its odds."""
    probability: Array = 1.0 / (1.0 + np.exp(-score))
    return probability
