"""The recipe's numbers against the paper's, written down here a second time, and against the corpora themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.recipes import BATCH_SIZE, BPTT, CORPORA, NUM_LAYERS, SIZES, TARGET_GRADIENT, TAU, VARIANTS

REAL_FILES = {
    "ptb": {split: f"ptb/ptb.{split}.txt" for split in ("train", "valid", "test")},
    "wikitext2": {split: f"wikitext-2/{split}.txt" for split in ("train", "valid", "test")},
}


@pytest.mark.parametrize(
    ("name", "label", "tied", "augmented"),
    [
        ("baseline", "VD-LSTM", False, False),
        ("al", "VD-LSTM+AL", False, True),
        ("re", "VD-LSTM+RE", True, False),
        ("real", "VD-LSTM+REAL", True, True),
    ],
)
def test_the_four_variants(name: str, label: str, tied: bool, augmented: bool) -> None:
    variant = VARIANTS[name]
    assert (variant.label, variant.tie_weights, variant.augmented_loss) == (label, tied, augmented)


@pytest.mark.parametrize(
    ("name", "hidden_size", "init_range", "decay_start", "decay", "max_grad_norm", "max_epochs"),
    [
        # section 6.1; appendix A; the ranges of the weights are Zaremba's; the epochs are ours
        ("small", 200, 0.1, 5, 0.9, 5.0, 40),
        ("medium", 650, 0.05, 10, 0.9, 5.0, 45),
        ("large", 1500, 0.04, 1, 0.97, 6.0, 130),
    ],
)
def test_the_sizes_of_the_paper(
    name: str,
    hidden_size: int,
    init_range: float,
    decay_start: int,
    decay: float,
    max_grad_norm: float,
    max_epochs: int,
) -> None:
    size = SIZES[name]
    assert size.lr == 1.0
    assert (size.hidden_size, size.init_range, size.lr_decay_start_epoch) == (hidden_size, init_range, decay_start)
    assert (size.lr_decay, size.max_grad_norm, size.max_epochs) == (decay, max_grad_norm, max_epochs)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_full_length_spends_the_learning_rate(size: str) -> None:
    """The epochs beyond ``max_epochs`` have at most two percent of the learning rate's sum."""
    recipe = SIZES[size]
    rates = [recipe.lr * recipe.lr_decay ** max(0, e - recipe.lr_decay_start_epoch) for e in range(1, 10_000)]
    assert sum(rates[recipe.max_epochs :]) <= 0.02 * sum(rates)


def test_what_all_settings_share() -> None:
    assert (BATCH_SIZE, BPTT, NUM_LAYERS, TAU, TARGET_GRADIENT) == (20, 35, 2, 20.0, "flow")


@pytest.mark.parametrize(
    ("corpus", "vocab_size", "num_tokens", "keep_prob", "gamma"),
    [
        ("ptb", 10_000, (929_589, 73_760, 82_430), {"small": 0.7, "medium": 0.5, "large": 0.35}, (0.5, 0.8)),
        ("wikitext2", 33_278, (2_088_628, 217_646, 245_569), {"small": 0.8, "medium": 0.6}, (1.0, 1.5)),
        ("wikitext2-a", 33_278, (1_044_314, 217_646, 245_569), {"small": 0.8, "medium": 0.6}, (1.0, 1.5)),
        ("wikitext2-b", 33_278, (1_044_314, 217_646, 245_569), {"small": 0.8, "medium": 0.6}, (1.0, 1.5)),
    ],
)
def test_the_corpora_of_the_paper(
    corpus: str,
    vocab_size: int,
    num_tokens: tuple[int, int, int],
    keep_prob: dict[str, float],
    gamma: tuple[float, float],
) -> None:
    recipe = CORPORA[corpus]
    assert recipe.vocab_size == vocab_size
    assert tuple(recipe.num_tokens[split] for split in ("train", "valid", "test")) == num_tokens
    assert {size: recipe.keep_prob[size] for size in keep_prob} == keep_prob
    assert gamma[0] <= recipe.gamma <= gamma[1]


@pytest.mark.parametrize("corpus", ["ptb", "wikitext2"])
def test_tokens_of_the_real_corpora(corpus: str, data_dir: Path) -> None:
    """Words and one ``<eos>`` per line, counted without any of the project's code."""
    words: set[str] = {"<eos>"}
    for split, path in REAL_FILES[corpus].items():
        text = (data_dir / path).read_text("utf-8")
        tokens = text.split()
        assert len(tokens) + text.count("\n") == CORPORA[corpus].num_tokens[split], split
        words.update(tokens)
    assert len(words) == CORPORA[corpus].vocab_size
