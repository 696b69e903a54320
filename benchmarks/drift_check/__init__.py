"""What `bench_drift.py` looks at, and how it looks at much of it."""
