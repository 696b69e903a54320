"""A backtest from start to end: stopped anywhere it goes on, and the future has no say in it."""

from __future__ import annotations

import itertools
import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from pandas.testing import assert_frame_equal

from cryptosentinel.backtest import Backtest, outline, publish, run_backtest
from cryptosentinel.backtest.folder import place_of, read_trained
from cryptosentinel.backtest.workers import train
from cryptosentinel.errors import NotEnoughDataError, StoreUnavailableError, UserInputError
from cryptosentinel.storage.schemas import FORECASTS
from tests.backtest.conftest import Undisturbed
from tests.backtest.replays import (
    BARS,
    DAY,
    END,
    START,
    Recorded,
    Rehearsal,
    make_plan,
    make_settings,
    replay_inline,
    without_progress,
)
from tests.builders import FIVE

# What the forecasts have that only the future of a row decides.
OUTCOMES = ["outcome", "actual_price", "error", "settled_at", "actual_return"]


def assert_same(left: Backtest, right: Backtest) -> None:
    assert_frame_equal(left.forecasts, right.forecasts)
    assert left.trainings == right.trainings
    assert left.meta == right.meta


def untimed(backtest: Backtest) -> list[dict[str, Any]]:
    return [training.model_dump(exclude={"fit_seconds"}) for training in backtest.trainings]


def test_every_bar_is_forecast_by_the_champion_of_its_time(undisturbed: Undisturbed) -> None:
    forecasts, trainings, _ = undisturbed.backtest.__dict__.values()
    assert [training.gate.promote for training in trainings] == [True, False, True]
    assert list(forecasts["made_at"]) == list(pd.date_range(START, END, freq=FIVE.delta, inclusive="left"))
    served = np.where(forecasts["made_at"] < pd.Timestamp(START + 2 * DAY), 0, 2)
    assert (forecasts["fold"] == served).all()
    assert (forecasts["bundle_version"] == served + 1).all()
    assert forecasts["forecast_id"].is_unique


def test_forecasts_have_the_columns_of_the_log_and_those_of_the_baselines(undisturbed: Undisturbed) -> None:
    forecasts = undisturbed.backtest.forecasts
    more = {"actual_return", "blend_return", "weight", "continued", "reversed", "single_feature", "p_base", "fold"}
    more |= {"pinball", "pinball_constant", "pinball_ewma", "pinball_har"}
    assert set(forecasts) == set(FORECASTS.names) | more
    assert not forecasts.isna().any().any()


def test_the_report_is_the_same_however_many_processes_train(undisturbed: Undisturbed, tmp_path: Path) -> None:
    alone = replay_inline(tmp_path / "alone")
    assert_frame_equal(alone.forecasts, undisturbed.backtest.forecasts)
    assert untimed(alone) == untimed(undisturbed.backtest)
    publish(alone, tmp_path / "one")
    publish(undisturbed.backtest, tmp_path / "two")
    for name in ("forecasts.parquet", "figures.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_what_comes_later_changes_no_forecast_and_no_verdict(undisturbed: Undisturbed, tmp_path: Path) -> None:
    now = START + DAY + 6 * FIVE.delta
    other, later = BARS.copy(), (BARS["timestamp"] >= pd.Timestamp(now)).to_numpy()
    path = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.005, later.sum())))
    other.loc[later, ["open", "high", "low", "close"]] *= path[:, None]
    left = undisturbed.backtest
    right = replay_inline(tmp_path / "other", make_plan(end=START + 2 * DAY), Recorded(other))
    assert untimed(left)[:2] == untimed(right)
    until, known = pd.Timestamp(now), pd.Timestamp(now - 6 * FIVE.delta)
    judged = [name for name in left.forecasts if name.startswith("pinball")]
    made = [backtest.forecasts[backtest.forecasts["made_at"] <= until] for backtest in (left, right)]
    assert len(made[0]) == 288 + 7
    assert_frame_equal(*(frame.drop(columns=[*OUTCOMES, *judged]) for frame in made))
    settled = [frame.loc[frame["made_at"] <= known, [*OUTCOMES, *judged]] for frame in made]
    assert_frame_equal(*settled)
    after = [backtest.forecasts[backtest.forecasts["made_at"] > until].iloc[0] for backtest in (left, right)]
    assert after[0]["price"] != after[1]["price"]


class Killed(BaseException):
    """Nobody catches this, as nobody catches a SIGKILL."""


@contextmanager
def killed_at(event: int) -> Iterator[None]:
    """Ends the block before its `event`-th change of a file's or folder's name or being."""
    events = itertools.count(1)

    def counting(change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if next(events) == event:
                raise Killed
            return change(*arguments, **options)

        return counted

    with (
        patch.object(shutil, "rmtree", counting(shutil.rmtree)),
        patch.object(pathlib.Path, "replace", counting(pathlib.Path.replace)),
        patch.object(np, "save", counting(np.save)),
    ):
        yield


def test_a_backtest_that_is_killed_at_any_moment_goes_on_to_the_same_result(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder, event = tmp_path / "killed", 0
    for event in itertools.count(1):
        try:
            with killed_at(event):
                done = undisturbed.rehearsal.play(folder)
            break
        except Killed:
            if event % 3 == 0:  # else every later moment would only be seen after all earlier ones
                assert_same(undisturbed.rehearsal.play(folder), undisturbed.backtest)
                assert not list(folder.rglob("parts"))
                shutil.rmtree(folder)
    assert event > 15
    assert_same(done, undisturbed.backtest)
    assert not list(folder.rglob("parts"))


def interrupted(rehearsal: Rehearsal, folder: Path, training: int) -> None:
    """Plays until the forecasts after a training run are there."""

    def stop(what: str, done: int, total: int) -> None:
        if total > 1 and done == training:
            raise Killed

    with rehearsal.played(), pytest.raises(Killed):
        run_backtest(Recorded(), make_plan(), folder, jobs=1, progress=stop)


@pytest.fixture(scope="module")
def halfway(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a backtest that was ended after two of its three trainings. Tests copy it."""
    folder = tmp_path_factory.mktemp("halfway") / "out"
    interrupted(undisturbed.rehearsal, folder, 2)
    return folder


def test_what_is_done_is_not_done_again(undisturbed: Undisturbed, halfway: Path, tmp_path: Path) -> None:
    shutil.copytree(halfway, tmp_path / "out")
    with undisturbed.rehearsal.played() as played:
        run_backtest(Recorded(), make_plan(), tmp_path / "out", jobs=1, progress=without_progress)
    assert played == [2]


DAMAGED = ["backtest.json", *(f"trainings/0000/{name}" for name in ("record.json", "forecasts.parquet"))]
DAMAGED += ["trainings/0000/bundle/inference.onnx", "trainings/0000/bundle/manifest.json", "trainings/0001/record.json"]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("how", ["half", "empty", "gone"])
def test_what_is_damaged_is_made_anew(
    undisturbed: Undisturbed, halfway: Path, tmp_path: Path, name: str, how: str
) -> None:
    folder = shutil.copytree(halfway, tmp_path / "out")
    path = folder / name
    content = path.read_bytes()
    if how == "gone" and name != "backtest.json":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "half" else b"")
    assert_same(undisturbed.rehearsal.play(folder), undisturbed.backtest)


def test_forecasts_of_a_champion_that_retired_are_made_anew_with_it(undisturbed: Undisturbed, tmp_path: Path) -> None:
    undisturbed.rehearsal.play(tmp_path / "out")
    (place_of(tmp_path / "out", 1) / "forecasts.parquet").unlink()
    assert not (place_of(tmp_path / "out", 0) / "bundle").exists()
    with undisturbed.rehearsal.played() as played:
        again = run_backtest(Recorded(), make_plan(), tmp_path / "out", jobs=1, progress=without_progress)
    assert played == [0]
    assert_same(again, undisturbed.backtest)


def test_parts_are_trained_once_and_not_believed_once_they_are_damaged(tmp_path: Path, tape_folder: Path) -> None:
    settings = make_settings().training
    trained = train(tape_folder, tmp_path, START, settings)
    assert train(tape_folder, tmp_path, START, settings) == trained
    damaged = tmp_path / "parts" / "ridge" / "forecasts.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert read_trained(tmp_path) is None
    with patch("cryptosentinel.backtest.workers.train_part", side_effect=Killed), pytest.raises(Killed):
        train(tape_folder, tmp_path, START, settings)
    assert read_trained(tmp_path) is None


@pytest.fixture
def tape_folder(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    with undisturbed.rehearsal.played(), pytest.raises(Killed):
        run_backtest(Recorded(), make_plan(), tmp_path / "out", jobs=1, progress=killed)
    return tmp_path / "out" / "tape"


def killed(what: str, done: int, total: int) -> None:
    if total > 1:
        raise Killed


def test_another_backtest_keeps_its_folder(undisturbed: Undisturbed, tmp_path: Path) -> None:
    undisturbed.rehearsal.play(tmp_path / "out")
    other = make_plan(training={"seed": 1}, forecast={"calibration_days": 20})
    match = r"holds another backtest: forecast.calibration_days and training.seed and seed differ"
    with pytest.raises(UserInputError, match=match):
        replay_inline(tmp_path / "out", other)
    moved = Recorded(BARS.assign(close=BARS["close"] * 1.0001, high=BARS["high"] * 1.001))
    with pytest.raises(UserInputError, match="holds another backtest: data digest differs"):
        replay_inline(tmp_path / "out", source=moved)
    with pytest.raises(UserInputError, match=r"another backtest: training.window_days differs\."):
        replay_inline(tmp_path / "out", make_plan(training={"window_days": 4}))


def test_a_fresh_start_keeps_nothing_but_what_is_not_ours(undisturbed: Undisturbed, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    undisturbed.rehearsal.play(folder)
    (folder / "notes.txt").write_text("mine")
    with undisturbed.rehearsal.played() as played:
        again = run_backtest(Recorded(), make_plan(), folder, jobs=1, progress=without_progress, fresh=True)
    assert played == [0, 1, 2]
    assert_same(again, undisturbed.backtest)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "trainings").mkdir()
    with pytest.raises(UserInputError, match="is not empty, and holds no backtest"):
        replay_inline(tmp_path, fresh=fresh)
    assert (tmp_path / "trainings").is_dir()


def test_two_backtests_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(UserInputError, match="Another backtest runs in"):
        replay_inline(tmp_path)


@pytest.mark.parametrize("attempt", [outline, run_backtest])
def test_a_folder_that_cannot_be_used_is_refused_before_bars_are_read(
    tmp_path: Path, attempt: Callable[..., object]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    others = {} if attempt is outline else {"jobs": 1, "progress": without_progress}
    unusable = {
        "file": (StoreUnavailableError, "Cannot write to .*: Not a directory"),
        "file/out": (StoreUnavailableError, "Cannot write to .*: Not a directory"),
        "/proc/out": (StoreUnavailableError, "Cannot write to /proc/out: No such file or directory"),
        "foreign": (UserInputError, "is not empty, and holds no backtest"),
    }
    for name, (kind, said) in unusable.items():
        with patch.object(Recorded, "bars", side_effect=AssertionError), pytest.raises(kind, match=said) as error:
            attempt(Recorded(), make_plan(), tmp_path / name, **others)
        assert error.value.remedy == "Name another folder with --out."
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "foreign", "notes.txt"]


def test_an_outline_says_what_is_to_do_and_does_nothing(halfway: Path, tmp_path: Path) -> None:
    planned = outline(Recorded(), make_plan(), tmp_path / "out")
    assert [run.now for run in planned.due] == [START, START + DAY, START + 2 * DAY]
    assert {(run.rows, run.problem) for run in planned.due} == {(3 * 288 - 6, "")}
    assert (planned.forecasts, planned.kept.done) == (3 * 288, 0)
    assert list(tmp_path.iterdir()) == []
    assert outline(Recorded(), make_plan(), halfway).kept.done == 2
    assert outline(Recorded(), make_plan(), halfway, fresh=True).kept.done == 0


def test_where_there_are_too_few_rows_the_champion_goes_on_and_the_record_says_why(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    # Two hours after the first training, more than two days are missing.
    gone = BARS["timestamp"].between(pd.Timestamp(START + 2 * hour), pd.Timestamp(START + 53 * hour))
    plan, source = make_plan(training={"window_days": 1}), Recorded(BARS[~gone].reset_index(drop=True))
    assert [bool(run.problem) for run in outline(source, plan, tmp_path / "out").due] == [False, True, True]
    done = replay_inline(tmp_path / "out", plan, source)
    first, *others = done.trainings
    assert first.training_rows > 0
    for training in others:
        assert (training.gate.promote, training.training_rows, training.candidates) == (False, 0, {})
        assert "not trained: Complete rows to train on: have " in training.gate.reasons[0]
    forecasts = done.forecasts
    assert (forecasts["fold"] == (0 if first.gate.promote else -1)).all()
    # The first forecast after the gap waits until the volatility is known again, as it does live.
    after = forecasts["made_at"][forecasts["made_at"] > pd.Timestamp(START + DAY)]
    assert START + 53 * hour + 36 * FIVE.delta < after.iloc[0] < START + 58 * hour
    assert np.isfinite(forecasts["upper_95"]).all()
    assert publish(done, tmp_path / "out").gate.trainings == 3
    assert_same(replay_inline(tmp_path / "out", plan, source), done)


def test_a_period_that_nothing_can_be_trained_for_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    begins = Recorded(BARS[BARS["timestamp"] >= pd.Timestamp(END - 0.3 * DAY)].reset_index(drop=True))
    for attempt in (outline, replay_inline):
        arguments = {outline: (begins, make_plan(), tmp_path), replay_inline: (tmp_path, make_plan(), begins)}[attempt]
        with pytest.raises(NotEnoughDataError, match="No training run would see enough bars") as error:
            attempt(*arguments)  # type: ignore[operator]
        assert "begin at 2025-01-19 16:48 UTC" not in str(error.value)
        assert error.value.remedy.startswith("The bars begin at 2025-01-19 16:50 UTC")
    assert list(tmp_path.iterdir()) == []


def test_forecasts_at_the_end_of_the_bars_wait_for_their_outcome(undisturbed: Undisturbed, tmp_path: Path) -> None:
    ends = Recorded(BARS[BARS["timestamp"] < pd.Timestamp(END)].reset_index(drop=True))
    with undisturbed.rehearsal.played():
        done = run_backtest(ends, make_plan(), tmp_path / "out", jobs=1, progress=without_progress)
    pending = done.forecasts[done.forecasts["outcome"].isna()]
    assert len(done.forecasts) == 3 * 288
    assert pending["made_at"].tolist() == [END - number * FIVE.delta for number in (5, 4, 3, 2, 1)]
    assert pending[["actual_price", "settled_at", "pinball", "pinball_har"]].isna().all().all()
    whole = undisturbed.backtest.forecasts.drop(columns=[*OUTCOMES, *done.forecasts.filter(like="pinball")])
    assert_frame_equal(done.forecasts[whole.columns], whole)


def test_a_forecast_is_settled_at_its_target(undisturbed: Undisturbed) -> None:
    forecasts = undisturbed.backtest.forecasts
    assert (forecasts["settled_at"] == forecasts["target_at"]).all()
    assert forecasts["actual_price"].iloc[0] == forecasts["price"].iloc[6]


def test_a_plan_longer_than_its_period_has_one_training() -> None:
    assert make_plan(every=timedelta(days=365)).trainings() == [START]
    assert make_plan(every=1.5 * DAY).trainings() == [START, START + 1.5 * DAY]
    assert make_plan(every=1.5 * DAY, end=START + 3.1 * DAY).trainings()[-1] == START + 3 * DAY


def test_progress_counts_trainings(undisturbed: Undisturbed, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(*what: Any) -> None:
        told.append(what)

    with undisturbed.rehearsal.played():
        run_backtest(Recorded(), make_plan(), tmp_path / "out", jobs=1, progress=tell)
    assert [done for what, done, total in told if what == "training and forecasting"] == [0, 1, 2, 3]
    assert [what for what, done, total in told if total == 1] == ["reading bars", "settling and calibrating"]
