"""Rows that different requests bring at the same moment, answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.predicting import Answer, Rows
from serving.bundles import Served

# Waiting for fewer takes longer than it saves. One try in so many does not show in a p99.
CROWD, TRIED_EVERY = 3, 200
# Of a crowd's batches one in so many waits for more than came before.
GROWN_EVERY = 20


class _Waiting(NamedTuple):
    served: Served
    rows: Rows
    answer: asyncio.Future[Answer]


class Batches:
    """Adaptive batching without waiting: what arrives in one turn of the event loop is answered in the next.

    A bundle takes hardly longer for sixteen rows than for two, and a row's answer has the same bits in whatever company
    it is computed. So requests at the same moment share the cost, and one alone waits for nobody.

    gRPC's server lets in one call a turn, which is answered on the spot, or waits for others where there is a crowd:
    now and then that is tried out, and it is kept up for as long as enough of them come. They wait until as many are
    there as came together before.

    Args:
        answer: asks a bundle.
        most: rows at once.
        patience_s: how long the first waits at most where there is a crowd; 0 for a server that lets in many a turn.
    """

    def __init__(self, answer: Callable[[Served, Rows], Answer], most: int, patience_s: float = 0.0) -> None:
        self._answer = answer
        self._most = most
        self._patience_s = patience_s
        self._company = 0.0  # how many came together when one waited, smoothed
        self._begun = self._gathered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[_Waiting] = []

    async def answer(self, served: Served, rows: Rows) -> Answer:
        """The answer for a request's rows, at most `most`."""
        if not self.next_waits():
            return self._answer(served, rows)
        return await self.wait(served, rows)

    def next_waits(self) -> bool:
        """Whether a request is to `wait` for others; to be asked once for each."""
        if self._waiting or not self._patience_s:
            return True
        self._begun += 1
        return self._company >= CROWD or self._begun % TRIED_EVERY == 0

    async def wait(self, served: Served, rows: Rows) -> Answer:
        """The answer, together with others'."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            if self._patience_s:
                self._timer = loop.call_later(self._patience_s, self._flush_crowd)
            else:
                loop.call_soon(self._flush)
        waiting = _Waiting(served, rows, loop.create_future())
        self._waiting.append(waiting)
        if self._timer is not None and len(self._waiting) >= self._company >= CROWD and self._gathered % GROWN_EVERY:
            self._timer.cancel()
            self._flush_crowd()
        return await waiting.answer

    def _flush_crowd(self) -> None:
        count = len(self._waiting)
        self._company = (3 * self._company + count) / 4 if self._company >= CROWD else count
        self._gathered += 1
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        # Of those a bundle answers together, the ones without features are the random walk's.
        for _, alike in groupby(waiting, lambda one: (id(one.served), one.rows.features is None)):
            for batch in self._batches(list(alike)):
                self._settle(batch)

    def _batches(self, waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
        batch: list[_Waiting] = []
        count = 0
        for one in waiting:
            if batch and count + len(one.rows.close) > self._most:
                yield batch
                batch, count = [], 0
            batch.append(one)
            count += len(one.rows.close)
        yield batch

    def _settle(self, batch: list[_Waiting]) -> None:
        try:
            whole = self._answer(batch[0].served, _together([one.rows for one in batch]))
        except Exception as error:  # noqa: BLE001 (whoever asked is told)
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        start = 0
        for one in batch:
            end = start + len(one.rows.close)
            if not one.answer.done():  # else whoever asked has left
                one.answer.set_result(whole if len(batch) == 1 else whole.of(slice(start, end)))
            start = end


def _together(all_rows: list[Rows]) -> Rows:
    if len(all_rows) == 1:
        return all_rows[0]
    features: NDArray[np.float64] | None = None
    if all_rows[0].features is not None:
        features = np.concatenate([rows.features for rows in all_rows if rows.features is not None])
    return Rows(
        close=np.concatenate([rows.close for rows in all_rows]),
        volatility=np.concatenate([rows.volatility for rows in all_rows]),
        features=features,
        spec_hash=all_rows[0].spec_hash,
    )
