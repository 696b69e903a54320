"""The explainer: a process beside the predictor that says why a forecast is what it is.

    python -m serving.explainer --bundle /mnt/models
    python -m serving.explainer --store-root HOME/MARKET

`supervisor` keeps a `worker` alive, which answers HTTP on this machine only; `explainers` holds the bundles that it can
explain. The predictor asks it through `serving.handover`.
"""
