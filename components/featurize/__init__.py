"""The component `featurize`."""
