"""Alerts: what a person should know now, and telling them.

`watch` holds what is known against the rules and keeps the alerts; `deliver` tells those who are to be told; people
`acknowledge` alerts, and `mute` kinds of them.
"""

from cryptosentinel.alerting.delivery import Told, deliver, is_muted
from cryptosentinel.alerting.events import Event, event_of
from cryptosentinel.alerting.facts import Facts, gather_facts
from cryptosentinel.alerting.handling import LONGEST_MUTE, Mute, acknowledge, mute, read_mutes, unmute
from cryptosentinel.alerting.rules import RULES, Reading, Rule, in_words, read_rules, remedy_of
from cryptosentinel.alerting.sinks import Sink, open_sinks
from cryptosentinel.alerting.trial import Trial, trial_event, try_sinks
from cryptosentinel.alerting.watch import market_in_words, watch

__all__ = [
    "LONGEST_MUTE",
    "RULES",
    "Event",
    "Facts",
    "Mute",
    "Reading",
    "Rule",
    "Sink",
    "Told",
    "Trial",
    "acknowledge",
    "deliver",
    "event_of",
    "gather_facts",
    "in_words",
    "is_muted",
    "market_in_words",
    "mute",
    "open_sinks",
    "read_mutes",
    "read_rules",
    "remedy_of",
    "trial_event",
    "try_sinks",
    "unmute",
    "watch",
]
