"""Component: bars from the market into the feature store."""

from typing import NamedTuple

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def ingest(
    settings: str,
    as_of: str,
    bars: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Outputs", [("touched_from", str), ("simulated", bool)]):
    """Fetches the bars that the store lacks, cleans them, and stores them."""
    import json
    from datetime import timedelta

    from components.lease import leased
    from components.step import log_metrics, observe, step, tell, write_text
    from cryptosentinel.market import ingest as ingest_bars

    with step("ingest", settings, as_of) as workspace, leased("ingest", workspace) as lease:
        if lease.elsewhere:
            return ("", workspace.source.simulated)
        history = timedelta(days=workspace.settings.training.window_days)
        warm_up = workspace.spec.warm_up_bars * workspace.spec.interval.delta
        result = ingest_bars(workspace.source, workspace.storage.features, history=history + warm_up)
        write_text(report, result.summary())
        newest = result.newest_bar + workspace.spec.interval.delta if result.newest_bar else None
        observe({"inserted": result.inserted, "updated": result.updated}, newest)
        log_metrics(metrics, {"inserted": result.inserted, "updated": result.updated, "gaps": len(result.gaps)})
        bars.metadata.update(store=workspace.storage.uri, version=result.version, source=result.source)
        write_text(bars, json.dumps(bars.metadata))
        tell("ingest", result.market_summary())
        tell("cleaning", result.cleaning.summary())
        touched = result.touched_from.isoformat() if result.touched_from else ""
    return (touched, result.simulated)
