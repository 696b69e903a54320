"""Replaying a market through the code that runs live, and a report of how it would have done."""

from cryptosentinel.backtest.records import BacktestMeta, Promotion, Training

__all__ = ["BacktestMeta", "Promotion", "Training"]
