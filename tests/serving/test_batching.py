"""Rows of several requests are answered at once, each as if it had been alone."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from cryptosentinel.errors import UserInputError
from cryptosentinel.predicting import Answer, Rows, answer_with
from serving.batching import Batches
from serving.bundles import Served
from tests.serving.builders import make_rows, make_trained


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Served:
    return Served(make_trained(tmp_path_factory.mktemp("bundle") / "trained"), 1, "d" * 64)


class Asked:
    """A bundle that remembers how many rows it was asked at once."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self._fault = fault

    def __call__(self, served: Served, rows: Rows) -> Answer:
        self.sizes.append(len(rows.close))
        if self._fault is not None:
            raise self._fault
        return answer_with(served.bundle, served.version, rows)


def answers(batches: Batches, *asked: tuple[Served, Rows]) -> list[Any]:
    async def ask() -> list[Any]:
        return await asyncio.gather(*(batches.answer(*each) for each in asked), return_exceptions=True)

    return asyncio.run(ask())


def equal(one: Answer, other: Answer) -> bool:
    left, right = vars(one.inference), vars(other.inference)
    prices, others = left["by_model"], right["by_model"]
    return all(np.array_equal(left[name], right[name]) for name in left if name != "by_model") and all(
        np.array_equal(prices[name], others[name]) for name in prices
    )


def test_requests_of_one_moment_are_one_question_and_each_gets_its_own_answer(served):
    asked = Asked()
    requests = [make_rows(count, seed=count) for count in (1, 3, 2)]
    found = answers(Batches(asked, most=200), *((served, rows) for rows in requests))
    assert asked.sizes == [6]
    assert all(equal(answer, answer_with(served.bundle, 1, rows)) for answer, rows in zip(found, requests, strict=True))


def test_one_alone_is_a_question_of_its_own(served):
    asked = Asked()
    batches = Batches(asked, most=200)
    for seed in (1, 2):
        answers(batches, (served, make_rows(1, seed=seed)))
    assert asked.sizes == [1, 1]


def test_no_question_is_larger_than_the_most(served):
    asked = Asked()
    answers(Batches(asked, most=5), *((served, make_rows(count)) for count in (2, 2, 2, 5, 1)))
    assert asked.sizes == [4, 2, 5, 1]


def test_rows_without_features_are_asked_apart(served):
    asked = Asked()
    cold, warm = make_rows(1, warm=False), make_rows(1)
    found = answers(Batches(asked, most=200), (served, warm), (served, cold), (served, cold))
    assert asked.sizes == [1, 2]
    assert [str(answer.inference.champion[0]) for answer in found][1:] == ["random_walk"] * 2


def test_requests_to_two_bundles_do_not_mix(served, tmp_path):
    other = Served(make_trained(tmp_path / "other"), 2, "e" * 64)
    found = answers(Batches(Asked(), most=200), (served, make_rows(1)), (other, make_rows(1)), (served, make_rows(1)))
    assert [answer.bundle_version for answer in found] == [1, 2, 1]


def test_a_failure_is_told_to_all_that_share_it_and_to_nobody_after(served):
    batches = Batches(Asked(UserInputError("no")), most=200)
    found = answers(batches, (served, make_rows(1)), (served, make_rows(2)))
    assert [str(error) for error in found] == ["no", "no"]
    assert str(answers(batches, (served, make_rows(1)))[0]) == "no"


def test_who_leaves_keeps_nobody_from_an_answer(served):
    batches = Batches(Asked(), most=200)

    async def ask() -> Answer:
        leaving, staying = (asyncio.ensure_future(batches.answer(served, make_rows(1))) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(ask()).bundle_version == 1


def test_where_one_comes_a_turn_the_first_waits_as_long_as_others_come(served, monkeypatch):
    monkeypatch.setattr("serving.batching.TRIED_EVERY", 2)
    asked = Asked()
    batches = Batches(asked, most=200, patience_s=0.05)

    async def trickle(count: int) -> None:
        waiting = []
        for _ in range(count):
            waiting.append(asyncio.ensure_future(batches.answer(served, make_rows(1))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)

    async def ask() -> None:
        await trickle(1)  # waits for nobody
        await trickle(5)  # a try, which finds company
        await trickle(4)
        for _ in range(3):
            await trickle(1)  # until it is clear that nobody comes any more
        await trickle(1)

    asyncio.run(ask())
    assert asked.sizes == [1, 5, 4, 1, 1, 1, 1]
    assert batches._company < 3


def test_a_crowd_is_answered_as_soon_as_it_is_as_many_as_before(served, monkeypatch):
    monkeypatch.setattr("serving.batching.TRIED_EVERY", 1)
    asked = Asked()
    batches = Batches(asked, most=200, patience_s=30.0)
    batches._company, batches._gathered = 3.0, 1

    async def ask(count: int) -> None:
        await asyncio.gather(*(batches.answer(served, make_rows(1)) for _ in range(count)))

    asyncio.run(asyncio.wait_for(ask(3), 10))
    asyncio.run(asyncio.wait_for(ask(6), 10))
    assert asked.sizes == [3, 3, 3]
