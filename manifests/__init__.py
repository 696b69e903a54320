"""What a kind cluster needs before the chart, and what brings it there."""
