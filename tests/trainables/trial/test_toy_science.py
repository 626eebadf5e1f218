"""The toy corpus as ground truth: the smallest size shows the paper's effect, and no loss is below the true one.

``python -m pytest tests/trainables/trial/test_toy_science.py -s`` prints the perplexities.
"""

import math

import numpy as np
import pytest

from trainables.config import paper_config
from trainables.data.corpora import load_corpus
from trainables.data.toy import EOS_ID, toy_entropy, toy_transitions
from trainables.recipes import VARIANTS
from trainables.trial.training import Training

SEEDS = (1, 2, 3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy():
    return load_corpus("toy")


@pytest.fixture(scope="module")
def nats(toy):
    """Variant -> (seeds, epochs) nats per token on the validation split, by the recipe of ``tiny`` on ``toy``."""
    found = {}
    for variant in VARIANTS:
        curves = []
        for seed in SEEDS:
            training = Training(paper_config(variant, "tiny", "toy", seed=seed), toy.train)
            curve = []
            for _ in range(training.config.max_epochs):
                training.train_epoch()
                curve.append(training.evaluate(toy.valid, eos_id=toy.eos_id))
            curves.append(curve)
        found[variant] = np.array(curves)
        best = np.exp(found[variant].min(1)).round(1)
        print(f"{VARIANTS[variant].label}: valid_ppl {best}, the truth {math.exp(toy_entropy()):.1f}")
    return found


def assert_better(better, worse):
    """Paired over seeds: the mean difference of the best epochs is at least four standard errors below zero."""
    difference = better.min(1) - worse.min(1)
    error = difference.std(ddof=1) / math.sqrt(difference.size)
    assert difference.mean() < -4 * error, f"differences of the losses {difference}"


@pytest.mark.parametrize(("tied", "untied"), [("re", "baseline"), ("real", "al")])
def test_tying_beats_not_tying(nats, tied, untied):
    assert_better(nats[tied], nats[untied])


def test_real_beats_the_baseline(nats):
    assert_better(nats["real"], nats["baseline"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_model_beats_the_true_loss(nats, toy, variant):
    """The language's own loss on this text, which fluctuates with the text as the model's does."""
    true_nats = -np.log(toy_transitions()[np.append(EOS_ID, toy.valid[:-1]), toy.valid]).mean()
    assert nats[variant].min() > true_nats
    assert nats[variant].min() > toy_entropy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_the_order_of_words(nats, toy, variant):
    """Each ends well below what the words' frequencies alone can reach."""
    counts = np.bincount(toy.valid)
    probs = counts[counts > 0] / counts.sum()
    assert nats[variant].min(1).max() < -(probs * np.log(probs)).sum() - 0.2
