"""Replaying a market through the code that runs live, and a report of how it would have done."""
