"""The dashboard over a market that has run for years: the store, and who looks at it."""
