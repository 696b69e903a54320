"""Replaying a market through the code that runs live, and a report of how it would have done."""

from cryptosentinel.backtest.figures import summarise
from cryptosentinel.backtest.models import BacktestFigures
from cryptosentinel.backtest.records import BacktestMeta, Promotion, Training
from cryptosentinel.backtest.report import write_figures, write_report
from cryptosentinel.backtest.runner import Backtest, Outline, Plan, Progress, outline, publish, run_backtest
from cryptosentinel.backtest.summary import summary_text

__all__ = [
    "Backtest",
    "BacktestFigures",
    "BacktestMeta",
    "Outline",
    "Plan",
    "Progress",
    "Promotion",
    "Training",
    "outline",
    "publish",
    "run_backtest",
    "summarise",
    "summary_text",
    "write_figures",
    "write_report",
]
