"""What is computed from bars: the feature spec, its arithmetic, and the targets."""

from cryptosentinel.features.compute import compute_features, compute_target
from cryptosentinel.features.featurize import FeaturizeReport, featurize
from cryptosentinel.features.spec import FEATURES, SCALE_FEATURE, Feature, FeatureSpec

__all__ = [
    "FEATURES",
    "SCALE_FEATURE",
    "Feature",
    "FeatureSpec",
    "FeaturizeReport",
    "compute_features",
    "compute_target",
    "featurize",
]
