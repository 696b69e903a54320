"""What every page shares: the market that was asked for, one read for all viewers, badges, and errors in words."""

from __future__ import annotations

import argparse
import functools
import logging
import secrets
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal, TypeVar

import streamlit as st

from cryptosentinel.errors import CryptoSentinelError, StorageError, UserInputError
from cryptosentinel.workspace import Workspace
from dashboard.acting import Permission, permission
from dashboard.data.home import Home, read_home
from dashboard.data.market import is_recorded, next_run, open_market
from dashboard.text import name, plain
from dashboard.zone import CHOICES, Zone

# How often live parts look for something new. A read is shared by all viewers for as long.
REFRESH_S = 15
_ZONE = "zone"
_SAID = "said"
# What no setting of Streamlit's reaches. On a phone its navigation is a list that screen readers cannot follow: `menu`
# takes its place. Its tags are white, and too pale on the dark theme's blue. Its toasts are dialogs without a name.
_STYLE = """<style>
@media (width < 768px) {
  [data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
  .st-key-menu { position: fixed; top: 0.6rem; left: 0.5rem; z-index: 999991; width: auto; }
  .st-key-menu button { color: inherit !important; }
}
@media (width >= 768px) { :has(> .st-key-menu), .st-key-menu { display: none; } }
[data-testid="stMultiSelect"] [data-tag] { background-color: #1f6fb8; }
.st-key-said {
  position: fixed; right: 1rem; bottom: 1rem; z-index: 1000050; width: min(26rem, calc(100vw - 2rem));
  background-color: Canvas; border-radius: 0.6rem; box-shadow: 0 0.25rem 1rem rgb(0 0 0 / 30%);
}
</style>"""

T = TypeVar("T")
Table = Literal["bars", "features", "forecasts", "registry", "clock"]

logger = logging.getLogger("cryptosentinel.dashboard")


def settings_json() -> str | None:
    """What `-- --settings JSON` gave."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--settings")
    given: str | None = parser.parse_known_args(sys.argv[1:])[0].settings
    return given


# Not for ever: without --settings the market is the one used last, and that may change.
@st.cache_resource(ttl=60, show_spinner=False)
def _open(settings: str | None) -> Workspace:
    return open_market(settings)


@st.cache_data(ttl=REFRESH_S - 1, show_spinner=False)
def _version(settings: str | None, table: Table) -> Hashable:
    storage = _open(settings).storage
    match table:
        case "bars":
            return storage.features.version()
        case "features":
            return storage.features.version(_open(settings).spec.hash)
        case "forecasts":
            return storage.log.version()
        case "registry":
            return storage.registry.revision()
        case "clock":
            return secrets.token_hex(4)


# A resource and not data, which each viewer would be given a copy of: what was read is not to be changed.
@st.cache_resource(ttl=600, max_entries=100, show_spinner=False)
def _read(
    settings: str | None,
    reader: str,  # noqa: ARG001 (part of the key, as are the two below)
    versions: tuple[Hashable, ...],  # noqa: ARG001
    arguments: tuple[Hashable, ...],
    _reader: Callable[..., T],
) -> T:
    return _reader(_open(settings), *arguments)


def read(reader: Callable[..., T], *arguments: Hashable, of: Iterable[Table]) -> T:
    """What a function of `data` reads, once for all viewers and until one of the tables changes.

    Tables are looked at every `REFRESH_S`. Nobody may change what is returned: others are shown the same object.

    Args:
        reader: is given the market and `arguments`.
        arguments: what is asked for; hashable.
        of: what is read; with "clock", what is read is `REFRESH_S` old at most.
    """
    settings = settings_json()
    versions = tuple(_version(settings, table) for table in of)
    return _read(settings, f"{reader.__module__}.{reader.__qualname__}", versions, arguments, reader)


def look_again() -> None:
    """What changed is seen by the next read, not only `REFRESH_S` after the last."""
    _version.clear()


def market() -> Workspace:
    """The market that this dashboard shows; raises as `data.market.open_market`."""
    return _open(settings_json())


def home() -> Home | None:
    """What `data.home.read_home` read, at most `REFRESH_S` ago."""
    return read(_home_now, of=["clock"])


def _home_now(workspace: Workspace) -> Home | None:
    return read_home(workspace, datetime.now(UTC))


def may_act() -> Permission:
    """Whether this viewer may do more than look."""
    return permission(market().settings.dashboard, st.context.headers)


def act(what: Callable[[str], str]) -> None:
    """Does what a viewer asks for, if they may: to be called by a button's `on_click`.

    A button that is shown as disabled can still be asked for by who speaks to the server without the page.

    Args:
        what: is given the viewer's name, for the record, and returns a sentence on what was done; what it raises is
            said, too.
    """
    allowed = may_act()
    if not allowed.granted:
        _say(plain(allowed.refused), ":material/lock:")
        return
    try:
        done = what(allowed.user)
    except UserInputError as error:
        _say(plain(str(error)), ":material/info:")
    except Exception:
        reference = secrets.token_hex(4)
        logger.exception("asked for by user=%s, said to them as id=%s", allowed.user, reference)
        _say(f"That could not be done. The dashboard's log says more under **{reference}**.", ":material/cloud_off:")
    else:
        logger.info("user=%s did: %s", allowed.user, done)
        _say(plain(done), ":material/check:")
    look_again()


def _say(sentence: str, icon: str) -> None:
    # What a callback itself shows takes the place of what is at the top of the page.
    st.session_state[_SAID] = (sentence, icon)


def when(pipeline: str) -> str:
    """When a pipeline runs next, for a sentence."""
    workspace = market()
    if is_recorded(workspace):
        return "when the recording is replayed"
    now = datetime.now(UTC)
    return f"at {zone().told(next_run(workspace.settings.schedules, pipeline, now), now)}"


def style() -> None:
    """What the look of every page needs beside the theme."""
    st.html(_STYLE)


def menu(pages: Mapping[str, Iterable[st.Page]], here: str) -> None:
    """The navigation of a narrow screen, where Streamlit's is hidden.

    Args:
        pages: by the name of their group.
        here: the address of the page that is shown; the menu closes when it changes.
    """
    with st.container(key="menu"), st.popover("Menu", icon=":material/menu:", type="tertiary", key=f"menu-{here}"):
        for group, of_it in pages.items():
            if group:
                st.caption(group)
            with st.container(gap="xxsmall"):
                for each in of_it:
                    st.page_link(each, width="stretch")


def header(page: str) -> None:
    """The market's name, the page's where it has one, and how real the market is."""
    try:
        workspace = market()
    except CryptoSentinelError:  # what is wrong is said once, by the page
        st.title("CryptoSentinel", anchor=False)
        return
    asset, currency = workspace.settings.market.asset, workspace.settings.market.currency
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        shown = f" :gray[{page}]" if page else ""
        st.title(f"{plain(name(asset))} in {plain(currency.upper())}{shown}", anchor=False, width="content")
        if workspace.source.simulated:
            st.badge("SIMULATED market", icon=":material/science:", color="orange", help="Its prices are invented.")
        if is_recorded(workspace):
            st.badge(
                "Recorded market",
                icon=":material/history:",
                color="violet",
                help="Its time stands still at the close of its newest bar.",
            )


def choose_zone() -> None:
    """The zone that times are shown in; the link to a page keeps it."""
    own = st.context.timezone or "UTC"
    st.selectbox(
        "Times in",
        CHOICES,
        index=None,
        placeholder=own.rpartition("/")[2].replace("_", " "),
        key=_ZONE,
        bind="query-params",
        width=170,
        help=f"Without a choice times are in your own zone, {plain(own)}. UTC is shown on hover.",
    )


def zone() -> Zone:
    """The zone that was chosen, else the viewer's own."""
    return Zone.of(st.session_state.get(_ZONE), st.context.timezone)


def explained(part: Callable[[], None]) -> Callable[[], None]:
    """A part of a page that says what went wrong in a sentence; the log says it in full, under the same id."""

    @functools.wraps(part)
    def shown() -> None:
        if said := st.session_state.pop(_SAID, None):
            sentence, icon = said
            with st.container(key=_SAID):
                st.info(sentence, icon=icon)
        try:
            part()
        except UserInputError as error:
            st.info(plain(str(error)), icon=":material/info:")
        except Exception as error:
            reference = secrets.token_hex(4)
            logger.exception("shown to a viewer as id=%s", reference)
            what = (
                "The store cannot be read right now; this page tries again by itself."
                if isinstance(error, StorageError)
                else "Something went wrong here; this page tries again by itself."
            )
            st.error(f"{what} The dashboard's log says more under **{reference}**.", icon=":material/cloud_off:")

    return shown
