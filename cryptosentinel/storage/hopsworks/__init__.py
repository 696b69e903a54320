"""Hopsworks behind the embedded store: feature rows and bundles go on to a Hopsworks project.

`with_hopsworks` puts it behind a store, `check` tries a project. The client is imported when a project is first asked.
"""

from cryptosentinel.storage.hopsworks.check import Step, check
from cryptosentinel.storage.hopsworks.features import Delivery
from cryptosentinel.storage.hopsworks.opening import HopsworksStorage, with_hopsworks

__all__ = ["Delivery", "HopsworksStorage", "Step", "check", "with_hopsworks"]
