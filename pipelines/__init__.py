"""The three Kubeflow pipelines, and what runs them on one machine."""
