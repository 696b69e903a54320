"""A market with a past at once: what the pipelines would have done in its last days, made in about a minute."""
