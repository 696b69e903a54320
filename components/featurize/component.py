"""Component: features of the bars that are new or were touched."""

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def featurize(
    settings: str,
    as_of: str,
    touched_from: str,
    features: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Computes and stores features; returns the timestamp of the newest row, or nothing where another run does it."""
    import json

    from components.lease import leased
    from components.step import log_metrics, observe, step, write_text
    from cryptosentinel.features import featurize as compute_and_store
    from cryptosentinel.market.bars import utc

    with step("featurize", settings, as_of) as workspace:
        store, spec = workspace.storage.features, workspace.spec
        # By what is featurized, not by the interval: who comes before the bars takes nothing from who brings them.
        with leased("featurize", workspace, f"{spec.hash} of bars {store.version()}") as lease:
            if lease.elsewhere:
                return ""
            asset = workspace.settings.market.asset
            result = compute_and_store(store, spec, asset, touched_from=utc(touched_from) if touched_from else None)
        written = result.written
        observe(
            {"inserted": written.inserted, "updated": written.updated}, result.newest + workspace.spec.interval.delta
        )
        log_metrics(
            metrics,
            {
                "inserted": written.inserted,
                "updated": written.updated,
                "unchanged": written.unchanged,
                "warm": float(result.newest_is_warm),
                "bars_since_gap": result.bars_since_gap,
            },
        )
        features.metadata.update(store=workspace.storage.uri, version=written.version, spec_hash=spec.hash)
        write_text(features, json.dumps(features.metadata))
    return result.newest.isoformat()
