"""Rules for every entry of the registries in ``trainables/recipes.py``, also for one that is added later."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from itertools import pairwise, product
from pathlib import Path, PurePosixPath

import pytest

from trainables.config import TrialConfig, paper_config
from trainables.recipes import CORPORA, SIZES, SPLITS, VARIANTS, CorpusRecipe, Size, Variant

REGISTRIES = {"variant": VARIANTS, "size": SIZES, "corpus": CORPORA}
ENTRIES = [
    pytest.param(key, entry, id=f"{kind}-{key}")
    for kind, registry in REGISTRIES.items()
    for key, entry in registry.items()
]
SETTINGS = [pytest.param(*setting, id="-".join(setting)) for setting in product(VARIANTS, SIZES, CORPORA)]
PUBLISHED_FILES = [
    pytest.param(recipe, split, id=f"{name}-{split}") for name, recipe in CORPORA.items() for split in recipe.files
]


@pytest.mark.parametrize(("key", "entry"), ENTRIES)
def test_an_entry_is_found_by_its_name(key: str, entry: Variant | Size | CorpusRecipe) -> None:
    assert entry.name == key


@pytest.mark.parametrize(("key", "entry"), ENTRIES)
def test_a_name_is_fit_for_command_lines_and_folders(key: str, entry: object) -> None:
    """``study=real-medium-ptb-...`` and ``variant=real/`` are made of names; ``all`` stands for every variant."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", key)
    assert key != "all"


@pytest.mark.parametrize(("key", "entry"), ENTRIES)
def test_an_entry_cannot_be_changed(key: str, entry: Variant | Size | CorpusRecipe) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"  # type: ignore[misc]


def test_variants_differ() -> None:
    """In more than their names."""
    assert len({dataclasses.replace(v, name="", label="") for v in VARIANTS.values()}) == len(VARIANTS)
    assert len({v.label for v in VARIANTS.values()}) == len(VARIANTS)


def test_sizes_are_listed_from_small_to_large() -> None:
    assert all(a.hidden_size < b.hidden_size for a, b in pairwise(SIZES.values()))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_size_gives_a_study(size: Size) -> None:
    """Room for all blocks of a search, and a schedule that begins to decay within a trial."""
    assert size.num_samples >= 4
    assert 0 <= size.lr_decay_start_epoch < size.max_epochs


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_a_corpus_covers_sizes_and_splits(corpus: CorpusRecipe) -> None:
    assert set(corpus.keep_prob) == set(SIZES)
    assert all(0 < keep <= 1 for keep in corpus.keep_prob.values())
    assert tuple(corpus.num_tokens) == SPLITS
    assert all(count > corpus.vocab_size for count in corpus.num_tokens.values())
    assert corpus.title


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_larger_networks_are_regularised_more(corpus: CorpusRecipe) -> None:
    """What the reading of the paper's numbers as *keep* probabilities implies (``recipes``, first paragraph)."""
    assert all(corpus.keep_prob[a] >= corpus.keep_prob[b] for a, b in pairwise(SIZES))


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_a_published_corpus_has_all_its_files(corpus: CorpusRecipe) -> None:
    assert set(corpus.files) in (set(), set(SPLITS))
    if not corpus.files:
        assert corpus.part is None
        assert corpus.name == "toy", "a corpus without files is generated, and only toy has a generator"


@pytest.mark.parametrize(("corpus", "split"), PUBLISHED_FILES)
def test_a_published_file_is_pinned(corpus: CorpusRecipe, split: str) -> None:
    file = corpus.files[split]
    assert file.url.startswith("https://")
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert file.num_bytes > 0
    path = PurePosixPath(file.path)
    assert not path.is_absolute()
    assert ".." not in path.parts


@pytest.mark.parametrize(("corpus", "split"), PUBLISHED_FILES)
def test_a_pinned_file_is_the_real_one(corpus: CorpusRecipe, split: str, data_dir: Path) -> None:
    file = corpus.files[split]
    content = (data_dir / file.path).read_bytes()
    assert len(content) == file.num_bytes
    assert hashlib.sha256(content).hexdigest() == file.sha256


def test_parts_are_halves_of_their_whole() -> None:
    """Both halves of a training split are there, share the whole's files, and add up to it."""
    parts = [c for c in CORPORA.values() if c.part]
    assert parts
    for part in parts:
        whole = next(c for c in CORPORA.values() if c.part is None and c.files and c.files == part.files)
        halves = {c.part: c for c in parts if c.files == part.files}
        assert set(halves) == {"first", "second"}
        assert sum(h.num_tokens["train"] for h in halves.values()) == whole.num_tokens["train"]
        assert part.vocab_size == whole.vocab_size


@pytest.mark.parametrize(("variant", "size", "corpus"), SETTINGS)
def test_every_setting_has_a_recipe(variant: str, size: str, corpus: str) -> None:
    config = paper_config(variant, size, corpus, seed=7)
    assert (config.variant, config.size, config.corpus, config.seed) == (variant, size, corpus, 7)
    assert config.max_epochs == SIZES[size].max_epochs
    assert config.drop_prob == pytest.approx(1 - CORPORA[corpus].keep_prob[size])
    assert (config.alpha is not None) == VARIANTS[variant].augmented_loss
    assert TrialConfig.from_dict(config.to_dict()) == config
