"""The page of the pipelines: what it reads, its chart, and the page in each of its states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cryptosentinel.config import Settings
from cryptosentinel.runs import Kind, Recording, Run, Step, listening, pending
from cryptosentinel.workspace import Workspace, open_workspace
from dashboard.charts.pipelines import duration_chart
from dashboard.data.pipelines import (
    NAMES,
    chosen,
    duration_table,
    progress,
    read_settings,
    run_table,
    setting_table,
    steps_of,
)
from dashboard.zone import Zone
from tests.builders import make_random_bars
from tests.dashboard.builders import settings_for
from tests.kubeflow.double import Double
from tests.kubeflow.server import serving
from tests.runs.builders import scheduled

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ran(kind: Kind, minute: int, state: str = "succeeded", seconds: float = 10, **more: object) -> Run:
    began = NOON + timedelta(minutes=minute)
    ended = None if state in ("running", "waiting") else began + timedelta(seconds=seconds)
    return Run(f"{kind}-{minute}", kind, state, began, ended, **more)  # type: ignore[arg-type]


RUNS = [
    ran("drift", 9, "running", by="user", user="ana"),
    ran("training", 6, "failed", 70, by="schedule", failed_step="train", message="It broke."),
    ran("inference", 2, "succeeded", 3, by="schedule", told=("forecast for 12:30",)),
    ran("feature", 0, "stopped", 4, by="command"),
]


def test_runs_are_chosen_by_pipeline_and_outcome_and_nothing_chosen_is_all() -> None:
    assert chosen(RUNS, [], []) == RUNS
    assert [run.kind for run in chosen(RUNS, ["training", "feature"], ["failed"])] == ["training"]
    assert chosen(RUNS, ["feature"], ["failed"]) == []


def test_a_row_says_when_how_long_who_and_what_came_of_it() -> None:
    table = run_table(RUNS, NOON + timedelta(minutes=10))
    assert list(table["Outcome"]) == ["▶ running", "✕ failed", "● succeeded", "■ stopped"]
    assert list(table["Took"]) == [60.0, 70.0, 3.0, 4.0]
    assert list(table["Asked for by"]) == ["ana", "schedule", "schedule", "command line"]
    assert list(table["What came of it"]) == ["", "It broke.", "forecast for 12:30", ""]
    assert list(run_table([], NOON).columns) == list(table.columns)


def test_progress_counts_tasks_and_those_to_come() -> None:
    training = ran(
        "training",
        0,
        "running",
        steps=(Step("drift", "succeeded", done=1), Step("train", "running", tasks=9, done=4)),
    )
    assert [step.name for step in steps_of(training)] == ["drift", "train", "evaluate", "register"]
    assert progress(training) == 5 / 12
    assert progress(ran("inference", 0, "waiting")) == 0
    assert steps_of(ran("training", 0, "failed")) == []  # none comes any more


def test_durations_have_a_row_a_pipeline_and_a_shape_an_outcome() -> None:
    durations = duration_table(RUNS)
    assert list(durations["seconds"]) == [4.0, 3.0, 70.0]
    figure = duration_chart(durations, NAMES, Zone("Etc/GMT-5"))
    assert [title.text for title in figure.layout.annotations] == ["Feature", "Training", "Inference"]
    assert {trace.name: trace.marker.symbol for trace in figure.data} == {
        "Stopped": "square-open",
        "Failed": "x",
        "Succeeded": "circle",
    }
    (failed,) = [trace for trace in figure.data if trace.name == "Failed"]
    assert (failed.x[0], failed.y[0]) == ((NOON + timedelta(hours=5, minutes=6)).replace(tzinfo=None), 70)
    assert figure.layout.xaxis3.title.text == "GMT+5"


def test_the_axis_of_a_single_run_is_in_minutes() -> None:
    assert duration_chart(duration_table(RUNS), NAMES, Zone()).layout.xaxis.range is not None  # six minutes of them
    lone = duration_chart(duration_table(RUNS[2:3]), NAMES, Zone()).layout.xaxis.range
    assert lone[1] - lone[0] == timedelta(minutes=20)
    hour = [ran("feature", 0), ran("feature", 60)]
    assert duration_chart(duration_table(hour), NAMES, Zone()).layout.xaxis.range is None


def test_settings_in_force_hide_secrets_and_say_what_was_changed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    changed = settings.model_copy(
        update={
            "storage": settings.storage.model_validate(
                {"uri": "s3://key:s3cret@bucket/path", "options": {"AWS_SECRET_ACCESS_KEY": "s3cret"}}
            ),
        }
    )
    known = {each.name: each for each in read_settings(open_workspace(settings))}
    assert known["home"].changed
    assert known["market.source"].value == "simulated:3"
    assert (known["schedules.feature"].changed, known["schedules.feature"].value) == (False, "0 */5 * * * *")
    shown = read_settings(Workspace(changed, *[None] * 5))  # type: ignore[arg-type]
    table = setting_table(shown)
    assert "s3cret" not in table.to_csv()
    storage = table[table["Setting"] == "storage.uri"].iloc[0]
    assert (storage["Value"], storage["Changed"]) == ("s3://**********@bucket/path", "● changed")


# The page.


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(settings_for(tmp_path))


@pytest.fixture
def show(look: Callable[..., AppTest]):
    def run(settings: Settings, *, act: bool = False, **query: str) -> AppTest:
        given = settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update={"actions": act})})
        return look(given, "pipelines", **query)

    return run


def said(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.warning, page.error, page.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def leave(workspace: Workspace, kind: Kind, minute: int, *, well: bool = True) -> None:
    folder = workspace.root / "runs" / f"{kind}-20260302T12{minute:02d}00000000"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("begin\n<b>Traceback</b>\n")
    with Recording(folder, kind, by="schedule") as recording:
        recording.step_began("predict")
        recording.end(
            well=well,
            told=["forecast made"],
            message="" if well else "**It** broke.",
            failed_step="" if well else "predict",
        )


def disabled(page: AppTest) -> dict[str, str | None]:
    return {button.key.removeprefix("run-"): button.help for button in page.button if button.disabled}


def test_before_anything_ran_the_page_says_what_comes_and_who_may_act(show, workspace: Workspace) -> None:
    page = show(workspace.settings)
    assert "Nothing has run yet" in said(page)
    assert set(disabled(page)) == {"feature", "training", "inference", "drift"}
    assert r"CRYPTOSENTINEL\_DASHBOARD\_ACTIONS\=on" in str(disabled(page)["training"])
    assert [header.value for header in page.subheader] == list(NAMES.values())
    assert said(page).count("Nothing runs it by its schedule now") == 3
    with listening(workspace.root):
        assert said(show(workspace.settings)).count("Next at ") == 3


def test_actions_need_somebody_who_runs_what_is_asked_for(show, workspace: Workspace) -> None:
    page = show(workspace.settings, act=True)
    assert "`cryptosentinel up`" in str(disabled(page)["inference"])
    with listening(workspace.root):
        assert disabled(show(workspace.settings, act=True)) == {}


def test_a_button_asks_for_a_run_and_shows_how_it_goes(show, workspace: Workspace) -> None:
    with listening(workspace.root):
        page = show(workspace.settings, act=True)
        page.button(key="run-inference").click().run()
        (request,) = pending(workspace.root, "inference")
        assert request.user == "local"
        folder = workspace.root / "runs" / "inference-20260302T120000000000"
        with Recording(folder, "inference", by="user", user="local", requests=[request.id]) as recording:
            recording.step_began("predict")
            st.cache_resource.clear()
            page.run()
            assert "▶ Predict" in said(page)
            recording.end(well=True, told=["forecast <i>made</i>"])
        st.cache_resource.clear()
        page.run()
        assert said(page).count(r"forecast \<i\>made\<\/i\>") == 2  # below the button, and above its log


def test_history_can_be_filtered_by_a_link_and_shows_the_log_of_what_failed(show, workspace: Workspace) -> None:
    leave(workspace, "inference", 1, well=False)
    leave(workspace, "feature", 2)
    page = show(workspace.settings)
    (history, _) = page.dataframe
    assert list(history.value["Pipeline"]) == ["Feature", "Inference"]
    assert page.code[0].value == "begin\n<b>Traceback</b>"
    assert [each.value for each in page.error] == [r"\*\*It\*\* broke\."] * 2  # in its card, and above its log
    assert "failed at predict" in page.selectbox[0].options[1]
    assert len(page.get("plotly_chart")) == 1
    only = show(workspace.settings, kind="Feature")
    assert list(only.dataframe[0].value["Pipeline"]) == ["Feature"]
    run_id = "feature-20260302T120200000000"
    assert show(workspace.settings, run=run_id).selectbox[0].value == run_id


def test_a_kubeflow_that_is_away_is_a_sentence_and_the_rest_of_the_page_is_there(show, workspace: Workspace) -> None:
    away = workspace.settings.kubeflow.model_copy(update={"url": "http://127.0.0.1:9"})
    page = show(workspace.settings.model_copy(update={"kubeflow": away}))
    assert "cannot be reached" in said(page)
    assert not page.error
    assert [header.value for header in page.header] == ["Pipelines", "History", "Settings in force"]


def test_on_kubeflow_a_button_starts_a_run_and_the_page_stands_when_it_goes_away(show, workspace: Workspace) -> None:
    with serving(Double(now=datetime.now(UTC))) as double:
        scheduled(double, "training")
        kubeflow = workspace.settings.kubeflow.model_copy(update={"url": double.url})
        page = show(workspace.settings.model_copy(update={"kubeflow": kubeflow}), act=True)
        assert "with each training" in str(disabled(page)["drift"])
        page.button(key="run-training").click().run()
        (run,) = double.runs.values()
        assert run.description == "Asked for by local."
        assert set(disabled(page)) == {"drift", "training"}
    page.run()
    assert "cannot be reached" in said(page)
    assert not page.error
    assert [header.value for header in page.header][-1] == "Settings in force"


def test_a_recording_promises_no_next_run(show, tmp_path: Path) -> None:
    path = tmp_path / "recording.parquet"
    make_random_bars(300).drop(columns=["asset", "source"]).to_parquet(path)
    assert "The recording has ended" in said(show(settings_for(tmp_path, f"file:{path}")))
