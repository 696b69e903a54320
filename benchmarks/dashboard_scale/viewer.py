"""A viewer of the dashboard who notes how long things take: over the WebSocket, and in headless Chromium."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.request import Request, urlopen

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60.0
# Where a page begins: below the menu and the header.
PAGE = [0, 2]
# What a viewer came for; titles and filters are there before anything was read.
CONTENT = {"metric", "plotly_chart", "dataframe", "table", "alert", "graphviz_chart", "html", "iframe", "imgs", "code"}
SEEN = ("stMetric", "stPlotlyChart", "stDataFrame", "stTable", "stAlert", "stGraphVizChart", "stIFrame")
_SEEN = ", ".join(f'[data-testid="stMain"] [data-testid="{name}"]' for name in SEEN)
_SEEN += ', [data-testid="stMain"] [data-testid="stHtml"] svg'  # a drawing; styles are HTML, too
_NOTE_FIRST_CONTENT = f"""
new MutationObserver((_, observer) => {{
  if (document.querySelector('{_SEEN}')) {{ window.seenAt = performance.now(); observer.disconnect(); }}
}}).observe(document, {{childList: true, subtree: true}});
"""
# The server has sent all of a page, and the browser shows it.
_AT_REST = """
!!document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]')
  && !document.querySelector('[data-testid="stMain"] [data-testid="stSkeleton"]')
"""


@dataclass(frozen=True)
class Filter:
    """A widget of a page, and another value than it has: what a viewer may ask for next."""

    label: str
    state: WidgetState
    fragment: str


@dataclass
class Drawn:
    """What a run of a page sent.

    Attributes:
        first_s: until the first piece of content.
        done_s: until all of it.
        size: bytes.
        filters: that it has.
        wrong: what it says went wrong.
    """

    first_s: float = 0.0
    done_s: float = 0.0
    size: int = 0
    filters: list[Filter] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Viewer(AbstractContextManager["Viewer"]):
    """One browser tab, as the server knows it."""

    def __init__(self, address: str) -> None:
        url = address.replace("http", "ws", 1) + "/_stcore/stream"
        self._socket: ClientConnection = connect(url, subprotocols=["streamlit"], max_size=2**28, proxy=None)  # type: ignore[list-item]
        self._page = ""
        self.pages: list[str] = []  # their `url_path`, once one was visited; the first page's is empty

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def visit(self, page: str) -> Drawn:
        """Opens a page by its `url_path`."""
        asked = BackMsg()
        asked.rerun_script.page_name = page
        return self._run(asked)

    def change(self, filtered: Filter) -> Drawn:
        """Gives a filter its other value."""
        asked = BackMsg()
        asked.rerun_script.page_script_hash = self._page
        asked.rerun_script.fragment_id = filtered.fragment
        asked.rerun_script.widget_states.widgets.append(filtered.state)
        return self._run(asked)

    def _run(self, asked: BackMsg) -> Drawn:
        drawn, began = Drawn(), time.perf_counter()
        self._socket.send(asked.SerializeToString())
        while True:
            received = self._socket.recv(timeout=PATIENCE_S)
            assert isinstance(received, bytes)
            message = ForwardMsg.FromString(received)
            drawn.size += len(received)
            match message.WhichOneof("type"):
                case "navigation":
                    self._page, pages = message.navigation.page_script_hash, message.navigation.app_pages
                    self.pages = ["" if page.is_default else page.url_pathname for page in pages]
                case "delta" if message.delta.WhichOneof("type") == "new_element":
                    self._note(message, drawn, time.perf_counter() - began)
                case "script_finished":
                    drawn.done_s = time.perf_counter() - began
                    drawn.first_s = drawn.first_s or drawn.done_s
                    if message.script_finished not in (
                        ForwardMsg.FINISHED_SUCCESSFULLY,
                        ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
                    ):
                        drawn.wrong.append(ForwardMsg.ScriptFinishedStatus.Name(message.script_finished))
                    return drawn

    @staticmethod
    def _note(message: ForwardMsg, drawn: Drawn, at: float) -> None:
        place, element = list(message.metadata.delta_path), message.delta.new_element
        kind = str(element.WhichOneof("type"))
        shown = getattr(element, kind)
        if kind == "exception" or (kind == "alert" and "log says more under" in shown.body):
            drawn.wrong.append(shown.message if kind == "exception" else shown.body)
        if place < PAGE or place[0] != PAGE[0]:  # what is above all pages, or lies in none
            return
        if kind in CONTENT and not drawn.first_s:
            drawn.first_s = at
        if (state := _another(kind, shown)) is not None:
            drawn.filters.append(Filter(shown.label, state, message.delta.fragment_id))


def _another(kind: str, widget: Any) -> WidgetState | None:
    """Another value than the widget has; None where it has no other, or is none."""
    if getattr(widget, "disabled", False) or getattr(widget, "form_id", ""):
        return None
    state = WidgetState(id=getattr(widget, "id", ""))
    if kind in ("button_group", "selectbox", "multiselect", "radio"):
        options = [getattr(option, "content", option) for option in widget.options]
        default = widget.default if kind in ("selectbox", "radio") else next(iter(widget.default), 0)
        if len(options) < 2:
            return None
        other = options[-1] if default != len(options) - 1 else options[0]
        if kind in ("selectbox", "radio"):
            state.string_value = other
        else:
            state.string_array_value.data.append(other)
    elif kind == "date_input" and widget.is_range and widget.min and widget.max:
        state.string_array_value.data.extend([widget.min, widget.max])
    elif kind == "checkbox":
        state.bool_value = not widget.default
    else:
        return None
    return state


class Chromium:
    """A tab of headless Chromium, driven by its own protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last = socket, 0
        for domain in ("Page", "Runtime"):
            self._ask(f"{domain}.enable")
        self._ask("Page.addScriptToEvaluateOnNewDocument", source=_NOTE_FIRST_CONTENT)

    @classmethod
    @contextmanager
    def opened(cls, program: str) -> Iterator[Self]:
        """Starts one, whose cache is empty, and ends it."""
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            flags = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                "--window-size=1280,900",
            ]
            process = subprocess.Popen(
                [program, *flags, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.DEVNULL
            )
            try:
                noted = Path(folder) / "DevToolsActivePort"
                while not (noted.exists() and noted.read_text().count("\n")):
                    time.sleep(0.05)
                time.sleep(1)  # what it does once it has started is no part of a visit
                port = noted.read_text().split()[0]
                with urlopen(Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")) as answer:
                    tab = json.load(answer)
                with connect(tab["webSocketDebuggerUrl"], max_size=2**28, proxy=None) as socket:
                    yield cls(socket)
            finally:
                process.terminate()
                process.wait()

    def visit(self, url: str) -> float:
        """Seconds from asking for a page to its first content. Returns once all of it is there."""
        self._ask("Page.navigate", url=url)
        first = float(self._once("window.seenAt")) / 1e3
        self._once(_AT_REST)
        return first

    def _once(self, expression: str) -> Any:
        """What JavaScript's `expression` is, once it is something."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            told = self._ask("Runtime.evaluate", expression=expression)["result"]
            if told.get("value"):
                return told["value"]
            time.sleep(0.02)
        raise TimeoutError(f"A page waits for {expression} longer than {PATIENCE_S:.0f} s.")

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if told.get("id") == self._last:
                if "error" in told:
                    raise RuntimeError(f"Chromium answers {method} with {told['error']['message']}.")
                return dict(told["result"])
