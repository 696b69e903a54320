"""Component: settle what is due, forecast through the predictor, raise alerts."""

from typing import NamedTuple

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def predict(
    settings: str,
    as_of: str,
    forecast: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    kubeflow: str = "",
) -> NamedTuple("Outputs", [("forecast_id", str), ("abstained", str)]):
    """Forecasts through KServe's V2 protocol and logs the forecast, after settling those that are due.

    Where the champion is called useless, does what is to follow; `kubeflow` says how the one that runs this is reached.
    """
    from components.following import follow
    from components.lease import leased
    from components.step import log_metrics, observe, step, tell, write_text
    from cryptosentinel.market.bars import utc
    from cryptosentinel.predicting import describe_forecast
    from cryptosentinel.predicting import predict as predict_once
    from cryptosentinel.storage import open_run_log
    from serving.client import predictor_for

    with step("predict", settings, as_of) as workspace, leased("predict", workspace) as lease:
        if lease.elsewhere:
            return ("", lease.elsewhere)
        with predictor_for(workspace.settings.serving) as predictor:
            now = utc(as_of) if as_of else workspace.source.now()
            # A market with a clock of its own has no schedule to be late by.
            runs = [] if as_of else open_run_log(workspace.settings.storage, workspace.storage.uri).read()
            result = predict_once(workspace.storage, predictor, workspace.spec, workspace.settings, runs=runs, now=now)
        made_at = None if result.forecast is None else result.forecast["made_at"].to_pydatetime()
        concept = result.concept.level if result.concept else 0.0
        observe({"settled": len(result.settled), "made": int(made_at is not None)}, made_at, concept=concept)
        outcomes = result.settled["outcome"].value_counts().to_dict()
        told = {"alerts": len(result.alerts), "told": result.told.delivered, "not_told": len(result.told.failed)}
        log_metrics(metrics, {"settled": len(result.settled)} | told | outcomes)
        forecast_id = ""
        if result.forecast is not None:
            forecast_id = result.forecast["forecast_id"]
            result.forecast.to_frame().T.astype({"bundle_version": int}).to_json(forecast.path, orient="records")
            write_text(report, describe_forecast(result.forecast, workspace.settings.market.currency))
            said = f"forecast for {result.forecast['target_at']:%H:%M} UTC served and logged"
        else:
            write_text(forecast, "[]")
            write_text(report, f"No forecast: {result.abstained}.")
            said = f"no forecast: {result.abstained}"
            lease.done = False  # who comes later in this interval may find features that we did not
        tell("predict", "; ".join([said, *follow(workspace, kubeflow, now=now)]))
    return (forecast_id, result.abstained)
