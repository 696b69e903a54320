"""Servers side by side under the same load: what `benchmarks/bench_serving.py` is made of."""
