"""CryptoSentinel: forecasting for crypto markets on Kubeflow Pipelines and KServe.

This package is the library: plain Python that imports no kfp, no kserve, no streamlit and no kubernetes.
"""

__version__ = "0.1.0"
