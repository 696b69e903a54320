"""What needs alibi-detect's environment: `make test-drift`."""
