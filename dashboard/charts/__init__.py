"""Plotly figures, a module a page."""
