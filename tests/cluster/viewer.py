"""Looks at the dashboard as a browser does: over its WebSocket."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

MEGABYTES = 2**20


@dataclass
class Page:
    """What a viewer is shown: figures by their labels, texts, and what is said to be wrong."""

    figures: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    badges: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def look(address: str, *, patience_s: float = 60.0) -> Page:
    """The first page, once it is drawn.

    Args:
        address: of the dashboard, such as http://localhost:8501.
        patience_s: for each message.
    """
    page = Page()
    url = address.replace("http", "ws", 1) + "/_stcore/stream"
    with connect(url, subprotocols=["streamlit"], max_size=64 * MEGABYTES, proxy=None) as session:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        session.send(asked.SerializeToString())
        while True:
            message = ForwardMsg.FromString(session.recv(timeout=patience_s))
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                _note(page, message.delta.new_element)
            if kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return page


def _note(page: Page, element: object) -> None:
    kind = element.WhichOneof("type")
    shown = getattr(element, kind)
    if kind == "metric":
        page.figures[shown.label] = shown.body
    elif kind in ("markdown", "heading"):
        badge = kind == "markdown" and "-badge[" in shown.body
        (page.badges if badge else page.texts).append(shown.body)
    elif kind == "alert":
        page.wrong.append(shown.body)
    elif kind == "exception":
        page.wrong.append(shown.message)
