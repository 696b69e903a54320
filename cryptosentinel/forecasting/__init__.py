"""Training a field of candidates, measuring them honestly, and deciding which bundle may serve."""

from cryptosentinel.forecasting.assembly import assemble_bundle
from cryptosentinel.forecasting.blocks import incumbent_on
from cryptosentinel.forecasting.candidates import CANDIDATES, Candidate, get_candidate
from cryptosentinel.forecasting.card import model_card
from cryptosentinel.forecasting.dataset import Dataset, Snapshot, enough_rows, load_dataset, take_snapshot
from cryptosentinel.forecasting.evaluation import Evaluation, evaluate, league_table
from cryptosentinel.forecasting.gate import judge
from cryptosentinel.forecasting.looks import next_look, past_verdicts
from cryptosentinel.forecasting.online import SETTLED_COLUMNS, Adjusted, Settled, calibrate, calibrate_rows
from cryptosentinel.forecasting.registration import (
    Promote,
    is_pending,
    register_bundle,
    settle_verdicts,
    was_champion,
)
from cryptosentinel.forecasting.training import Part, part_names, train_part
from cryptosentinel.forecasting.unseen import read_unseen

__all__ = [
    "CANDIDATES",
    "SETTLED_COLUMNS",
    "Adjusted",
    "Candidate",
    "Dataset",
    "Evaluation",
    "Part",
    "Promote",
    "Settled",
    "Snapshot",
    "assemble_bundle",
    "calibrate",
    "calibrate_rows",
    "enough_rows",
    "evaluate",
    "get_candidate",
    "incumbent_on",
    "is_pending",
    "judge",
    "league_table",
    "load_dataset",
    "model_card",
    "next_look",
    "part_names",
    "past_verdicts",
    "read_unseen",
    "register_bundle",
    "settle_verdicts",
    "take_snapshot",
    "train_part",
    "was_champion",
]
