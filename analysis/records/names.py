"""Display names of variants, corpora and settings; a name that the registries lack is shown as it is."""

from __future__ import annotations

from study.records.records import Setting
from trainables.recipes import CORPORA, SIZES, VARIANTS


def variant_label(variant: str) -> str:
    """The variant as the paper's tables print it."""
    return VARIANTS[variant].label if variant in VARIANTS else variant


def corpus_title(corpus: str) -> str:
    """The corpus as the paper's tables print it."""
    return CORPORA[corpus].title if corpus in CORPORA else corpus


def place_title(corpus: str, size: str) -> str:
    """A corpus and size as a heading, for instance ``PTB, small (200 units)``."""
    units = f" ({SIZES[size].hidden_size} units)" if size in SIZES else ""
    return f"{corpus_title(corpus)}, {size}{units}"


def place_name(corpus: str, size: str) -> str:
    """A corpus and size within a sentence, for instance ``PTB small``."""
    return f"{corpus_title(corpus).replace(',', '')} {size}"


def setting_name(setting: Setting) -> str:
    """A setting in files, for instance ``ptb/small/real``."""
    return "/".join(setting)
