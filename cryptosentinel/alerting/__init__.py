"""Alerts: what a person should know now, and telling them.

`watch` holds what is known against the rules and keeps the alerts; `deliver` tells those who are to be told.
"""

from cryptosentinel.alerting.delivery import Told, deliver
from cryptosentinel.alerting.events import Event, event_of
from cryptosentinel.alerting.facts import Facts, gather_facts
from cryptosentinel.alerting.rules import RULES, Reading, Rule, read_rules, remedy_of
from cryptosentinel.alerting.sinks import Sink, open_sinks
from cryptosentinel.alerting.trial import Trial, trial_event, try_sinks
from cryptosentinel.alerting.watch import market_in_words, watch

__all__ = [
    "RULES",
    "Event",
    "Facts",
    "Reading",
    "Rule",
    "Sink",
    "Told",
    "Trial",
    "deliver",
    "event_of",
    "gather_facts",
    "market_in_words",
    "open_sinks",
    "read_rules",
    "remedy_of",
    "trial_event",
    "try_sinks",
    "watch",
]
