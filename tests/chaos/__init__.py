"""A randomised fault test of a running study: ``python -m tests.chaos --minutes 10 --seed 1``."""
