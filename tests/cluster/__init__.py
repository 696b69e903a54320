"""A release on a real cluster, up to its first settled forecast; `make e2e` runs these tests, `make test` does not."""
