"""The commands that need KServe: `serve`, and those that ask what serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptosentinel.cli import (
    ConfigOption,
    HomeOption,
    JsonOption,
    SetOption,
    SourceOption,
    out,
    print_json,
    read_settings,
    say_if_simulated,
)
from cryptosentinel.config import Settings
from serving.rollout.commands import rollout

if TYPE_CHECKING:
    import pandas as pd

    from cryptosentinel.workspace import Workspace
    from serving.client import Explained, ServedPredictor


def add_commands(app: typer.Typer) -> None:
    """Adds this package's commands to the command line."""
    for command in (serve, forecast, explain, rollout):
        app.command()(command)


def serve(
    bundle: Annotated[
        Path | None, typer.Option(help="Serve this bundle folder, in place of the market's champion.", file_okay=False)
    ] = None,
    bundle_version: Annotated[int | None, typer.Option(help="The folder's version, where it does not say.")] = None,
    http_port: Annotated[int | None, typer.Option(help="0: any free port.", show_default="8085")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="0: any free port.", show_default="8086")] = None,
    explainer: Annotated[
        bool, typer.Option(help="Start an explainer beside it, unless serving.explainer_url names one.")
    ] = True,
    source: SourceOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
) -> None:
    """Serve forecasts with KServe until Ctrl-C; a new champion is served as soon as there is one."""
    from serving.server import run_predictor

    settings = read_settings(
        config,
        assignments,
        {
            "home": home,
            "market.source": source,
            "serving.http_port": http_port,
            "serving.grpc_port": grpc_port,
        },
    )
    if bundle is not None:
        with _beside(settings, explainer, bundle=bundle, bundle_version=bundle_version) as settings:
            run_predictor(settings, bundle=bundle, bundle_version=bundle_version)
        return
    from cryptosentinel.workspace import stored_workspace
    from serving.state import state_path

    workspace = stored_workspace(settings, begin=True)
    workspace.champion()
    with _beside(settings, explainer, store_root=workspace.root) as settings:
        run_predictor(settings, store_root=workspace.root, market=workspace.market, state=state_path(workspace.root))


def forecast(
    bars: Annotated[
        Path | None,
        typer.Option(help="Forecast from the last bars of this file, Parquet or CSV, instead.", dir_okay=False),
    ] = None,
    source: SourceOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running predictor for the forecast as of now; nothing is logged."""
    settings = read_settings(config, assignments, {"home": home, "market.source": source})
    if bars is not None:
        _forecast_bars(settings, bars, as_json)
        return
    from cryptosentinel.predicting import Abstention, current_forecast
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(settings)
    with _predictor(workspace.settings, workspace) as predictor:
        found = current_forecast(
            workspace.storage, predictor, workspace.spec, workspace.settings, now=workspace.source.now()
        )
    if not as_json:
        say_if_simulated(workspace.source.simulated)
    row, reason = (None, found.reason) if isinstance(found, Abstention) else (found[0], "")
    _show_forecast(
        row, reason, workspace.settings.market.currency, workspace.market, workspace.source.simulated, as_json
    )


def explain(
    lime: Annotated[bool, typer.Option("--lime", help="Fit linear models around the row too (LIME).")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many contributions a table names.")] = 8,
    source: SourceOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why the running predictor forecasts what it does now: what moves the price, the direction and the range."""
    from cryptosentinel.predicting import Abstention, expired_model, newest_rows
    from cryptosentinel.workspace import stored_workspace

    workspace = stored_workspace(read_settings(config, assignments, {"home": home, "market.source": source}))
    settings, now = workspace.settings, workspace.source.now()
    explained, made_at = None, None
    with _predictor(settings, workspace) as predictor:
        asked = newest_rows(
            workspace.storage.features, workspace.spec, settings.market.asset, settings.forecast, now=now
        )
        if isinstance(asked, Abstention):
            refusal: Abstention | None = asked
        else:
            made_at, rows = asked
            refusal = expired_model(predictor.info().data_end, settings.forecast, now=now)
            explained = predictor.explain(rows, lime=lime)
    reason = refusal.reason if refusal else ""
    if as_json:
        answer = {"market": workspace.market, "simulated": workspace.source.simulated, "abstained": reason}
        answer |= {"made_at": made_at.isoformat() if made_at else None, "bundle_version": None}
        answer |= {"sentence": None, "explanation": None}
        if explained is not None:
            (explanation,), (said,) = explained.explanations, explained.sentence
            answer |= {"bundle_version": explained.bundle_version, "sentence": said}
            answer |= {"explanation": explanation.model_dump(mode="json")}
        print_json(answer)
        return
    say_if_simulated(workspace.source.simulated)
    if reason:
        out.print(f"No forecast now: {reason}.", highlight=False, markup=False)
    if explained is not None:
        _show_explained(explained, f"{made_at:%Y-%m-%d %H:%M} UTC", top)


def _forecast_bars(settings: Settings, path: Path, as_json: bool) -> None:
    """Shows the forecast at the end of a file of bars, for whatever market the predictor serves."""
    import pandas as pd

    from cryptosentinel.features import FeatureSpec
    from cryptosentinel.market import FileSource, clean
    from cryptosentinel.market.bars import Interval
    from cryptosentinel.predicting import forecast_frame
    from cryptosentinel.workspace import stored_workspace

    workspace = None if settings.serving.url is not None else stored_workspace(settings)
    with _predictor(settings, workspace) as predictor:
        info = predictor.info()
        spec = FeatureSpec(Interval(info.interval))  # type: ignore[arg-type]
        source = FileSource(path, info.asset, spec.interval)
        now = source.now()
        kept = clean(source.bars(now - 2 * spec.warm_up_bars * spec.interval.delta, now), spec.interval, now).bars
        bars = kept.tail(info.warm_up_bars or len(kept))
        found = predictor.forecast_bars(bars, spec.interval.name)
    made_at = pd.DatetimeIndex([found.made_at])
    rows = forecast_frame(found.answer, bars["close"].to_numpy()[-1:], info.asset, made_at, spec)
    if info.simulated and not as_json:
        out.print("[bold yellow]The predictor was made for a SIMULATED market.[/]")
    _show_forecast(rows, found.abstention, info.currency, info.market, info.simulated, as_json)


def _predictor(settings: Settings, workspace: Workspace | None) -> ServedPredictor:
    """A client of the predictor that the settings name, or else of the one that runs for a market."""
    from serving.client import predictor_for
    from serving.process import running_predictor

    serving = settings.serving
    if serving.url is None and workspace is not None:
        serving = serving.model_copy(update={"url": running_predictor(workspace.root)})
    return predictor_for(serving)


def _show_forecast(
    rows: pd.DataFrame | None, reason: str, currency: str, market: str, simulated: bool, as_json: bool
) -> None:
    """Prints one row of the forecast log that was not logged, and why it would not be."""
    from rich.markdown import Markdown

    from cryptosentinel.predicting import describe_forecast, forecast_records

    if as_json:
        made = None if rows is None else forecast_records(rows)[0]
        print_json({"market": market, "simulated": simulated, "abstained": reason, "forecast": made})
        return
    if reason:
        told = "No forecast now" if rows is None else "The live pipeline would make no forecast of this"
        out.print(f"{told}: {reason}.", highlight=False, markup=False)
    if rows is not None:
        out.print(Markdown(describe_forecast(rows.iloc[0], currency)))


def _show_explained(explained: Explained, closed_at: str, top: int) -> None:
    from cryptosentinel.explaining import contribution_tables, local_tables

    (explanation,), (said,) = explained.explanations, explained.sentence
    out.print(said, highlight=False, markup=False)
    for table in [*contribution_tables(explanation, top), *local_tables(explanation, top)]:
        out.print()
        out.print(table)
    if explanation.lime == {}:
        out.print("\nLIME has nothing to fit: no model is behind this forecast.", highlight=False)
    out.print(
        f"\nBundle {explained.bundle_version}, at the close of {closed_at}. The range is the bundle's own, before it is"
        " adjusted by how earlier forecasts came true.",
        highlight=False,
        style="dim",
    )


@contextmanager
def _beside(settings: Settings, wanted: bool, **bundles: Any) -> Iterator[Settings]:
    """Runs an explainer while the block runs, where one is wanted; gives the settings that name it."""
    if not wanted or settings.serving.explainer_url is not None:
        yield settings
        return
    from serving.explainer.process import start_explainer, with_explainer

    settings = with_explainer(settings)
    with start_explainer(settings, **bundles):
        yield settings
