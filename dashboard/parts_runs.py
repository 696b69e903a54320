"""Asking for a run of a pipeline, and how it goes; for the pages that have such a button."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import streamlit as st

from cryptosentinel.errors import CryptoSentinelError, KubeflowError
from cryptosentinel.runs import Asked, Kind, Run, Runner, State, Step, runner
from dashboard import parts, shell, text
from dashboard.data.pipelines import NAMES, Recent, progress, read_recent, steps_of, utc_now, who
from dashboard.text import plain

Shown = Callable[[Run | None], None]
# How often a run under way is looked at: for Kubeflow each look is a handful of requests.
POLL_S, KUBEFLOW_POLL_S = 2, 10
# Of a log's end on the page; a download has all.
LOG_LINES = 25
_SIGNS: dict[State, str] = {"succeeded": "✓", "running": "▶", "failed": "✕", "stopped": "■", "waiting": "·"}
_BADGES: dict[State, tuple[str, str]] = {
    "waiting": (":material/hourglass_empty:", "gray"),
    "running": (":material/autorenew:", "blue"),
    "succeeded": (":material/check_circle:", "gray"),
    "failed": (":material/error:", "orange"),
    "stopped": (":material/cancel:", "orange"),
}


def runs_here() -> Runner:
    """Who runs the pipelines of this market."""
    return runner(shell.market())


def recent() -> Recent:
    """The newest runs, read once for all viewers, a few seconds ago at most."""
    return _recent(shell.settings_json(), _tick())


def _tick() -> int:
    on_kubeflow = shell.market().settings.kubeflow.url is not None
    return int(time.time() // (KUBEFLOW_POLL_S if on_kubeflow else POLL_S))


@st.cache_resource(max_entries=2, ttl=60, show_spinner=False)
def _recent(settings: str | None, tick: int) -> Recent:  # noqa: ARG001 (the key)
    return read_recent(shell.market())


@st.cache_resource(max_entries=20, ttl=60, show_spinner=False)
def _log(settings: str | None, run_id: str, tick: int, _run: Run) -> str:  # noqa: ARG001 (the key)
    return runs_here().log(_run)


def _nothing(_: Run | None) -> None:
    """Shows nothing."""


def asking(
    kind: Kind, label: str = "Run now", *, explained: str = "", above: Shown = _nothing, below: Shown = _nothing
) -> None:
    """A button that asks for a run, and below it how that goes; the page is drawn anew once the run has ended.

    Args:
        kind: of what.
        label: of the button.
        explained: what it does, on hover.
        above: shows something of the newest run of the kind above the button; is called whenever that is drawn.
        below: the same below it.
    """
    live = _is_live(kind)

    @st.fragment(run_every=POLL_S if live else shell.REFRESH_S)
    @shell.explained
    def part() -> None:
        newest = recent().newest(kind)
        above(newest)
        try:
            _button(kind, label, explained, busy=live)
            below(newest)
            _follow(kind, newest)
        except KubeflowError as error:
            st.warning(plain(str(error)), icon=":material/cloud_off:")
        if _is_live(kind) != live:
            shell.look_again()
            st.rerun()

    part()


def badge(run: Run | None) -> None:
    """The state of a run, by sign and word."""
    if run is None:
        st.badge("Never ran", icon=":material/remove:", color="gray")
        return
    icon, colour = _BADGES[run.state]
    st.badge(run.state.capitalize(), icon=icon, color=colour)  # type: ignore[arg-type]


def following(run: Run, now: datetime) -> None:
    """A run under way: how far it is, and its steps."""
    seconds = text.duration(now - run.began_at)
    by = f" for {plain(who(run))}" if run.by == "user" else ""
    st.progress(progress(run), text=f"{NAMES[run.kind]}: {run.state}{by}, {seconds}")
    steps(run)


def steps(run: Run) -> None:
    """The steps of a run in a line."""
    if told := "  \n".join(_step(step) for step in steps_of(run)):
        parts.aside(told)


def _step(step: Step) -> str:
    sign, many = _SIGNS[step.state], f", {step.done} of {step.tasks}" if step.tasks > 1 else ""
    took = "" if not (step.began_at and step.ended_at) else f", {(step.ended_at - step.began_at).total_seconds():.1f} s"
    return f"{sign} {plain(text.name(step.name))}{many}{took}"


def outcome(run: Run) -> None:
    """What came of a run that has ended, in a sentence."""
    if run.state == "succeeded":
        parts.aside(f":material/check_circle: {plain(' '.join(run.told)) or 'Done.'}")
    else:
        st.error(plain(f"{run.message} {run.remedy}".strip()) or "It failed.", icon=":material/error:")


def log_of_one(runs: list[Run]) -> None:
    """The log of one of some runs: of the newest that failed, unless another is chosen."""
    if not runs:
        return
    st.header("Log of a run", anchor=False)
    by_id = {run.id: run for run in runs}
    ended = [run.id for run in runs if not run.under_way] or [runs[0].id]
    failed = next((run.id for run in runs if run.state == "failed"), ended[0])
    linked = st.query_params.get("run", failed)
    picked = st.selectbox(
        "Run",
        list(by_id),
        index=list(by_id).index(linked if linked in by_id else failed),
        format_func=lambda run_id: _titled(by_id[run_id]),
        label_visibility="collapsed",
    )
    run = by_id[picked]
    if picked != linked:
        st.query_params["run"] = picked
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        badge(run)
        if run.url:
            st.link_button("See it there", run.url, icon=":material/open_in_new:")
    steps(run)
    if not run.under_way and (run.message or run.told):
        outcome(run)
    try:
        log = _log(shell.settings_json(), run.id, _tick() if run.under_way else 0, run)
    except CryptoSentinelError as error:
        st.info(plain(str(error)), icon=":material/info:")
        return
    lines = log.splitlines()
    st.code("\n".join(lines[-LOG_LINES:]), language=None, wrap_lines=True)  # what scrolls is not reached by keyboard
    st.download_button(
        f"Download all {len(lines):,} lines",
        lambda: log,  # once it is wanted: a file made at each look would be gone at the next
        f"{run.id}.log",
        "text/plain",
        icon=":material/download:",
        on_click="ignore",
    )


def _titled(run: Run) -> str:
    failed = f" at {text.name(run.failed_step).lower()}" if run.failed_step else ""
    return f"{NAMES[run.kind]}, {shell.zone().told(run.began_at, utc_now())}: {run.state}{failed}"


def _button(kind: Kind, label: str, explained: str, *, busy: bool) -> None:
    may, here = shell.may_act(), runs_here()
    refused = plain(may.refused) if may.refused else here.refusal(kind)
    pressed = st.button(
        label,
        key=f"run-{kind}",
        icon=":material/play_arrow:",
        disabled=bool(refused) or busy,
        help=refused or explained or None,
        width="stretch",
    )
    if pressed and may.granted:
        st.session_state[_key(kind)] = here.ask(kind, may.user)
        _recent.clear()


def _follow(kind: Kind, newest: Run | None) -> None:
    """The run that this viewer asked for, or whichever is under way."""
    asked: Asked | None = st.session_state.get(_key(kind))
    if asked is not None and asked.refused:
        st.warning(asked.refused, icon=":material/block:")
    elif asked is not None:
        run = _answer(asked)
        if run is None:
            st.progress(0.0, text=f"{NAMES[kind]}: asked for, waiting")
        elif run.under_way:
            if asked.joined:
                parts.aside("It was under way already; this is that run.")
            following(run, utc_now())
        else:
            outcome(run)
            if newest is not None and newest.began_at > run.began_at:
                del st.session_state[_key(kind)]  # from the next look on that is the one to tell of
    elif newest is not None and newest.under_way:
        following(newest, utc_now())
    elif newest is not None and newest.state != "succeeded":
        outcome(newest)


def _answer(asked: Asked) -> Run | None:
    """The run that answers; once it has ended nobody is asked any more."""
    ended: Run | None = st.session_state.get(f"ended-{asked.id}")
    run = ended or runs_here().answer(asked)
    if run is not None and not run.under_way:
        st.session_state[f"ended-{asked.id}"] = run
    return run


def _is_live(kind: Kind) -> bool:
    asked: Asked | None = st.session_state.get(_key(kind))
    if asked is not None and not asked.refused:
        try:
            run = _answer(asked)
        except KubeflowError:  # told below the button; it is looked at again as what does not live is
            return False
        return run is None or run.under_way
    newest = recent().newest(kind)
    return newest is not None and newest.under_way


def _key(kind: Kind) -> str:
    return f"asked-{kind}"
