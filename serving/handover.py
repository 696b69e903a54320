"""Handing explanations over to the explainer: bounded in time and number, never in a forecast's way.

    {"instances": [...], "lime": true}

A request is that for a forecast (see `serving.instances`), of at most 16 rows, with LIME of one. The answer is
`{"explanations": [...], "sentence": [...], "bundle_version": N}`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import orjson

from cryptosentinel.config import ServingSettings
from cryptosentinel.errors import ServingError
from cryptosentinel.predicting import Rows
from serving._kserve import InvalidInput, ModelNotReady
from serving.bundles import Served
from serving.explainer.options import MAX_LIME_ROWS, MAX_ROWS
from serving.instances import INSTANCES, SERIES
from serving.logs import fields
from serving.metrics import EXPLAIN_REFUSED
from serving.tracing import outgoing_headers, span

log = logging.getLogger("serving")

LIME = "lime"
AWAY_S, BUSY_S = 2, 1  # when to ask again
KEEPALIVE_S = 5.0  # less than the explainer keeps a connection


class ExplainerAwayError(ModelNotReady):
    """There can be no explanation now. Of KServe's kind, for its 503.

    Attributes:
        retry_after_s: when to ask again.
    """

    def __init__(self, sentence: str, retry_after_s: int = AWAY_S) -> None:
        super().__init__("")
        self.error_msg = sentence
        self.retry_after_s = retry_after_s


class ExplanationsOffError(Exception):
    """There will be no explanation here, however often one asks."""

    def __init__(self) -> None:
        super().__init__(
            "Explanations are off: this predictor has no explainer. Start one (`python -m serving.explainer`), set"
            " `serving.explainer_url` to its address, and start the predictor anew."
        )


class Handover:
    """A client of the explainer; use it in one event loop.

    Args:
        url: the explainer's base address.
        timeout_s: how long an explanation may take.
        concurrency: how many are asked for at once; more are refused at once.

    Raises:
        ServingError: `url` is no address.
    """

    def __init__(self, url: str, *, timeout_s: float, concurrency: int) -> None:
        if not url.startswith(("http://", "https://")):
            raise ServingError(
                f"'{url}' is no explainer's address.", remedy="Write http://host:port in `serving.explainer_url`."
            )
        self._timeout_s = timeout_s
        self._free = concurrency
        limits = httpx.Limits(max_connections=concurrency, keepalive_expiry=KEEPALIVE_S)
        # Given, a transport keeps the environment's proxies out, which would not find 127.0.0.1.
        transport = httpx.AsyncHTTPTransport(limits=limits)
        self._http = httpx.AsyncClient(base_url=url, transport=transport, timeout=timeout_s)

    async def explain(self, rows: Rows, served: Served, *, lime: bool) -> dict[str, Any]:
        """The explainer's answer for rows that have features, of the bundle that is served.

        Raises:
            ExplainerAwayError: it is away, busy, has another bundle, takes too long, or failed.
            InvalidInput: a row can be forecast from, but not explained.
        """
        if not self._free:
            EXPLAIN_REFUSED.inc()
            raise ExplainerAwayError("Too many explanations are asked for at once.", BUSY_S)
        assert rows.features is not None
        question = {
            "rows": {"close": rows.close.tolist(), "features": rows.features.tolist()},
            "bundle": served.digest,
            LIME: lime,
        }
        self._free -= 1
        try:
            with span("hand_over"):
                async with asyncio.timeout(self._timeout_s):
                    response = await self._http.post("/explain", json=question, headers=outgoing_headers())
        except (TimeoutError, httpx.TimeoutException):
            raise ExplainerAwayError(f"The explainer gave no answer within {self._timeout_s:g} s.") from None
        except httpx.TransportError:
            raise ExplainerAwayError("The explainer is away: it starts, or starts again.") from None
        finally:
            self._free += 1
        return self._answer(response, served)

    def _answer(self, response: httpx.Response, served: Served) -> dict[str, Any]:
        try:
            body = orjson.loads(response.content)  # in a fifth of the time: an explanation is 30 kB
            if response.is_success:
                # Both hold the same bundle; which version that is, the predictor knows.
                return {name: body[name] for name in ("explanations", "sentence")} | {"bundle_version": served.version}
            said, retry_after_s = str(body["error"]), int(response.headers.get("retry-after", AWAY_S))
        except (ValueError, KeyError, TypeError):
            log.error("explainer_failed", extra=fields(status=response.status_code, said=response.text[:200]))  # noqa: TRY400
        else:
            if response.status_code == httpx.codes.BAD_REQUEST:
                raise InvalidInput(said)
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                raise ExplainerAwayError(said, retry_after_s)
            log.error("explainer_failed", extra=fields(status=response.status_code, said=said))
        raise ExplainerAwayError("The explainer failed at this request; its log says why.")

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()


def handover_for(serving: ServingSettings) -> Handover | None:
    """A client of the explainer that the settings name, or None where they name none.

    Raises:
        ServingError: they name something else.
    """
    if serving.explainer_url is None:
        return None
    return Handover(serving.explainer_url, timeout_s=serving.explain_timeout_s, concurrency=serving.explain_concurrency)


def split_request(payload: object) -> tuple[object, bool]:
    """A request for an explanation as the request for a forecast that it extends, and whether it asks for LIME.

    Raises:
        InvalidInput: it holds too many rows, or says neither yes nor no to LIME.
    """
    if not isinstance(payload, dict):
        return payload, False
    lime = payload.get(LIME, False)
    if not isinstance(lime, bool):
        raise InvalidInput("'lime' must be true or false.")
    most = MAX_LIME_ROWS if lime else MAX_ROWS
    for name in (INSTANCES, SERIES):
        if isinstance(rows := payload.get(name), list) and len(rows) > most:
            with_lime = " with 'lime'" if lime else ""
            raise InvalidInput(f"There are {len(rows):,} {name}; send at most {most} to be explained{with_lime}.")
    return {name: value for name, value in payload.items() if name != LIME}, lime
