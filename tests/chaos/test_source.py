"""The source of prices is down, slow, or lies. What it said wrongly is gone once it tells the truth again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.chaos import gecko
from tests.chaos.world import BAR, World

chaos = pytest.mark.chaos


def closes(world: World) -> list[float]:
    return world.workspace.storage.features.read_bars("bitcoin")["close"].tolist()


@chaos
def test_source_down(world: World) -> None:
    """It resets every connection for ten minutes."""
    world.gecko.fault = gecko.away
    results = world.go_on(2)
    assert "CoinGecko (/coins/bitcoin/market_chart) cannot be reached" in world.problems(results)
    assert "stale_bars" in world.alerts()
    world.well()
    assert world.violations() == []


@chaos
def test_source_slow(world: World) -> None:
    """Its answers drip, a byte every 20 ms."""
    world.gecko.fault = gecko.slow
    assert "had not finished its answer after 0.5 s" in world.problems(world.go_on(1))
    world.well()
    assert world.violations() == []


@chaos
def test_source_silent(world: World) -> None:
    """It takes the connection and never answers."""
    world.gecko.fault = gecko.silent
    assert "did not answer within 0.5 s" in world.problems(world.go_on(1))
    world.well()
    assert world.violations() == []


def test_source_limits_our_rate(world: World) -> None:
    """429, asking to wait two minutes."""
    world.gecko.fault = gecko.limited(120)
    results = world.go_on(2)
    assert "limits our rate and asks to wait 120 s" in world.problems(results)
    assert len(world.gecko.charts) == 2, "it was not asked again before"
    world.well()
    assert world.violations() == []


@chaos
def test_source_limits_our_rate_under_200(world: World) -> None:
    """429 in the body of a 200."""
    world.gecko.fault = gecko.limited_under_200
    assert "limits our rate" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_answers_html(world: World) -> None:
    """A proxy's page under 200."""
    world.gecko.fault = gecko.html
    assert "answered no JSON (200: an HTML page)" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_answers_500(world: World) -> None:
    """An internal error for ten minutes."""
    world.gecko.fault = gecko.broken
    assert "answered an error (500: Internal Server Error)" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_breaks_off(world: World) -> None:
    """The connection ends in the middle of the body."""
    world.gecko.fault = gecko.cut_short
    assert "cannot be reached" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_answers_half_a_json(world: World) -> None:
    """Half of a body, as though it were whole."""
    world.gecko.fault = gecko.half_a_json
    assert "answered no JSON" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_has_nothing(world: World) -> None:
    """No point at all, in a well-formed answer."""
    world.gecko.lie = gecko.nothing
    world.go_on(2)
    assert "stale_bars" in world.alerts()
    world.well()
    assert world.violations() == []


@chaos
def test_source_repeats_itself(world: World) -> None:
    """Points twice, out of order, without a price, negative, or no points."""
    world.gecko.lie = gecko.muddled
    assert world.problems(world.go_on(2)) == ""
    world.well()
    assert world.violations() == []


@chaos
def test_price_times_ten_at_the_end(world: World) -> None:
    """The newest two prices are ten times what they are."""
    before = max(closes(world))
    world.gecko.lie = gecko.times(10, newest=2)
    world.go_on(2)
    assert max(closes(world)) < 1.5 * before
    world.well()
    assert world.violations() == []


def test_price_times_ten(world: World) -> None:
    """All prices of the day are ten times what they are."""
    before = max(closes(world))
    world.gecko.lie = gecko.times(10)
    results = world.go_on(2)
    assert max(closes(world)) < 1.5 * before
    assert "contradicts" in world.problems(results)
    assert "stale_bars" in world.alerts()
    world.well()
    assert world.violations() == []


@chaos
def test_price_stuck(world: World) -> None:
    """No new point for ten minutes."""
    world.gecko.lie = gecko.stuck(world.now)
    world.go_on(2)
    assert "stale_bars" in world.alerts()
    world.well()
    assert world.violations() == []


@chaos
def test_price_frozen(world: World) -> None:
    """New points all the time, with one and the same price."""
    world.gecko.lie = gecko.frozen(world.now)
    assert world.problems(world.go_on(3)) == ""
    rules = [violation.rule for violation in world.violations()]
    assert "bars_are_what_the_source_says" in rules, "nobody can know"
    world.well()
    assert world.violations() == []


@chaos
def test_source_clock_an_hour_behind(world: World) -> None:
    """Each price is stamped an hour before it was."""
    world.gecko.lie = gecko.hours_off(-1)
    assert "its clock is 60 minutes behind" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_source_clock_an_hour_ahead(world: World) -> None:
    """Each price is stamped an hour after it was."""
    world.gecko.lie = gecko.hours_off(1)
    assert "its clock is 60 minutes ahead" in world.problems(world.go_on(2))
    world.well()
    assert world.violations() == []


@chaos
def test_our_clock_an_hour_ahead(world: World) -> None:
    """This machine's clock is an hour fast, then right again."""
    right = world.gecko.clock
    world.gecko.clock = lambda: right() - timedelta(hours=1)
    world.now += 12 * BAR
    results = world.go_on(2)
    world.now -= 12 * BAR
    world.gecko.clock = right
    assert "the newest features are" in str(results[-1].returned), "it abstains"
    world.well()
    assert world.violations() == []


@chaos
def test_our_clock_an_hour_behind(world: World) -> None:
    """This machine's clock is an hour slow, then right again."""
    world.go_on(1)
    right = world.gecko.clock
    world.gecko.clock = lambda: right() + timedelta(hours=1)
    world.now -= 12 * BAR
    world.go_on(2)
    world.now += 12 * BAR
    world.gecko.clock = right
    world.well()
    assert world.violations() == []
