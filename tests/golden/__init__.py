"""Golden losses: what a few tiny trials measured, epoch by epoch; ``python -m tests.golden`` writes them anew."""
