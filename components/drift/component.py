"""Component: pins what to train on, and says whether the market still looks like the champion's."""

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def drift(
    settings: str,
    as_of: str,
    report: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Compacts the tables, checks drift, and pins the table versions that every training task of this run reads.

    Returns the snapshot as JSON, or nothing where it has too few rows to train on, or another run trains. (One output,
    since Kubeflow's local runner resolves only a lone one in a condition.)
    """
    from components.lease import leased
    from components.step import log_metrics, observe, step, tell, write_text
    from cryptosentinel.alerting import Facts, watch
    from cryptosentinel.drift import check_drift
    from cryptosentinel.forecasting import enough_rows, take_snapshot
    from cryptosentinel.market.bars import utc

    with step("drift", settings, as_of) as workspace, leased("drift", workspace) as lease:
        if lease.elsewhere:
            return ""
        workspace.storage.maintain()  # before anything is pinned: it rewrites files
        store, asset = workspace.storage.features, workspace.settings.market.asset
        snapshot = take_snapshot(store, workspace.spec, asset, workspace.settings.training.window_days)
        count, needed = enough_rows(store, workspace.spec, asset, snapshot, workspace.settings)
        found = check_drift(store, workspace.spec, asset, workspace.champion_bundle(), workspace.settings.drift)
        sentences = [found.sentence() if found else "no baseline yet: the champion has learnt nothing"]
        if count < needed:
            sentences.append(
                f"not training: {count:,} complete rows, {needed:,} are needed; the champion stays (version "
                f"{workspace.champion().version})"
            )
        write_text(report, "\n".join(f"- {sentence}." for sentence in sentences))
        tell("drift", "; ".join(sentences))
        log_metrics(metrics, {"rows": count, "rows_needed": needed})
        observe({"complete": count}, snapshot.end, trains=count >= needed)
        if found:
            log_metrics(metrics, {"drift_score": found.score, "drifted": float(found.drifted)})
            observe({}, drift_score=found.score)
            now = utc(as_of) if as_of else workspace.source.now()
            # The next inference step tells of it.
            facts = Facts(drift=found.score, tick=str(store.last_timestamp(asset)))
            watch(workspace.storage, facts, workspace.settings, now=now)
    return snapshot.model_dump_json() if count >= needed else ""
