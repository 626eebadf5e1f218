"""Golden losses of a few tiny trials, epoch by epoch; ``python -m tests.golden`` rewrites them."""
