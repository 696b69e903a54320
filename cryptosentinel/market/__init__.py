"""Where bars come from: sources, cleaning, and their ingestion into a store."""

from cryptosentinel.market.cleaning import Cleaned, CleaningReport, clean
from cryptosentinel.market.file import FileSource
from cryptosentinel.market.ingest import OVERLAP, IngestReport, ingest
from cryptosentinel.market.opening import Opened, open_source, source_slug
from cryptosentinel.market.simulated import SimulatedSource
from cryptosentinel.market.source import Quote, Source

__all__ = [
    "OVERLAP",
    "Cleaned",
    "CleaningReport",
    "FileSource",
    "IngestReport",
    "Opened",
    "Quote",
    "SimulatedSource",
    "Source",
    "clean",
    "ingest",
    "open_source",
    "source_slug",
]
