"""Component: pins what to train on, and says whether the market still looks like the champion's."""

from kfp import dsl

from components.image import DRIFT_IMAGE


@dsl.component(base_image=DRIFT_IMAGE, install_kfp_package=False)
def drift(
    settings: str,
    as_of: str,
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Compacts the tables, checks drift, and pins the table versions that every training task of this run reads.

    Returns the snapshot as JSON, or nothing where it has too few rows to train on, or another run trains. (One output,
    since Kubeflow's local runner resolves only a lone one in a condition.)
    """
    from components.lease import leased
    from components.step import log_metrics, observe, step, tell, write_text
    from cryptosentinel.alerting import Facts, watch
    from cryptosentinel.drift import DriftReport, check_drift, keep_report, page
    from cryptosentinel.forecasting import enough_rows, take_snapshot
    from cryptosentinel.market.bars import utc

    with step("drift", settings, as_of) as workspace, leased("drift", workspace) as lease:
        if lease.elsewhere:
            return ""
        workspace.storage.maintain()  # before anything is pinned: it rewrites files
        store, asset = workspace.storage.features, workspace.settings.market.asset
        snapshot = take_snapshot(store, workspace.spec, asset, workspace.settings.training.window_days)
        count, needed = enough_rows(store, workspace.spec, asset, snapshot, workspace.settings)
        champion, bundle = workspace.champion().version, workspace.champion_bundle()
        found = check_drift(store, workspace.spec, asset, bundle, workspace.settings.drift, version=champion)
        sentences = [found.sentence()]
        if count < needed:
            sentences.append(
                f"not training: {count:,} complete rows, {needed:,} are needed; the champion stays (version {champion})"
            )
        write_text(report, page(found, sentences[1:]))
        tell("drift", "; ".join(sentences))
        log_metrics(metrics, {"rows": count, "rows_needed": needed})
        observe({"complete": count}, snapshot.end, trains=count >= needed)
        if isinstance(found, DriftReport):
            log_metrics(metrics, found.figures())
            observe({}, drift_score=found.score)
            now = utc(as_of) if as_of else workspace.source.now()
            keep_report(workspace.storage.log, found, now=now)
            # The next inference step tells of it.
            facts = Facts(drift=found.score, tick=str(store.last_timestamp(asset)))
            watch(workspace.storage, facts, workspace.settings, now=now)
    return snapshot.model_dump_json() if count >= needed else ""
