"""Display names of variants, corpora and settings."""

from __future__ import annotations

from analysis.records.names import corpus_title, place_name, place_title, setting_name, variant_label
from study.records.records import Setting


def test_names_in_the_registries() -> None:
    assert variant_label("real") == "VD-LSTM+REAL"
    assert corpus_title("wikitext2-a") == "WikiText-2, Partition 1"
    assert place_title("ptb", "small") == "PTB, small (200 units)"
    assert place_name("wikitext2-a", "small") == "WikiText-2 Partition 1 small"
    assert setting_name(Setting("ptb", "small", "real")) == "ptb/small/real"


def test_other_names_are_shown_as_they_are() -> None:
    assert (variant_label("mine"), corpus_title("mine")) == ("mine", "mine")
    assert (place_title("mine", "huge"), place_name("mine", "huge")) == ("mine, huge", "mine huge")
