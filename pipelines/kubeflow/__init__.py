"""The pipelines on Kubeflow Pipelines: compiled, uploaded, scheduled, watched and pruned."""
