"""The paper's outputs as data: every number of its Tables 1 to 4, and what its text lets one read off Figure 1.

The counterpart of ``trainables.recipes``, which holds the paper's inputs. Nothing that trains may import this module:
a study is compared with these numbers and never tuned towards them.

"The paper" is Inan, Khosravi and Socher, "Tying Word Vectors and Word Classifiers", ICLR 2017. Settings that it prints
as ``-`` have no entry here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.data.phrases import PHRASES

QUANTITIES = ("valid_ppl", "test_ppl", "num_params")


@dataclass(frozen=True, kw_only=True)
class PaperNumber:
    """One number of one table."""

    table: str
    """``Table 1``, ``Table 2`` or ``Table 3``."""
    system: str
    """The model as the table prints it, without its citation."""
    quantity: str
    """One of ``QUANTITIES``."""
    value: float
    printed: str
    """The number as the table prints it."""
    corpus: str
    size: str | None = None
    """Network size, where the system is one of this project's settings."""
    variant: str | None = None
    """Variant, where the system is one of this project's settings."""
    citation: str | None = None
    """Source of the number; None for the paper's own."""


# Table 1, "final word level perplexities", and Table 2, the two halves of the WikiText-2 training split.
# corpus -> size -> variant -> (valid, test) as printed.
_PERPLEXITIES: dict[str, dict[str, dict[str, dict[str, tuple[str, str]]]]] = {
    "Table 1": {
        "ptb": {
            "small": {
                "baseline": ("92.6", "87.3"), "al": ("86.3", "82.9"), "re": ("89.9", "85.1"), "real": ("86.3", "82.7"),
            },
            "medium": {
                "baseline": ("82.0", "77.7"), "al": ("77.4", "74.7"), "re": ("77.1", "73.9"), "real": ("75.7", "73.2"),
            },
            "large": {
                "baseline": ("76.8", "72.6"), "al": ("74.5", "71.2"), "re": ("72.5", "69.0"), "real": ("71.1", "68.5"),
            },
        },
        # Footnote 5: the large WikiText-2 networks are not reported, for want of computational resources.
        "wikitext2": {
            "small": {
                "baseline": ("112.2", "105.9"), "al": ("110.3", "103.8"),
                "re": ("106.1", "100.5"), "real": ("105.6", "98.9"),
            },
            "medium": {
                "baseline": ("100.2", "95.3"), "al": ("98.8", "93.1"), "re": ("92.3", "87.7"), "real": ("91.5", "87.0"),
            },
        },
    },
    "Table 2": {
        "wikitext2-a": {
            "small": {
                "baseline": ("159.1", "148.0"), "al": ("153.0", "142.5"),
                "re": ("152.4", "141.9"), "real": ("149.3", "140.6"),
            },
        },
        "wikitext2-b": {
            "small": {
                "baseline": ("163.19", "148.6"), "al": ("156.4", "143.7"),
                "re": ("152.5", "140.9"), "real": ("150.5", "138.4"),
            },
        },
    },
}  # fmt: skip
_LABELS = {"baseline": "VD-LSTM", "al": "VD-LSTM+AL", "re": "VD-LSTM+RE", "real": "VD-LSTM+REAL"}

# Table 3, Penn Treebank: (system, citation, parameters, validation, test), "-" where the table has a dash.
_TABLE_3 = (
    ("RNN", "Mikolov & Zweig", "6M", "-", "124.7"),
    ("RNN+LDA", "Mikolov & Zweig", "7M", "-", "113.7"),
    ("RNN+LDA+KN-5+Cache", "Mikolov & Zweig", "9M", "-", "92.0"),
    ("Deep RNN", "Pascanu et al., 2013a", "6M", "-", "107.5"),
    ("Sum-Prod Net", "Cheng et al., 2014", "5M", "-", "100.0"),
    ("LSTM (medium)", "Zaremba et al., 2014", "20M", "86.2", "82.7"),
    ("CharCNN", "Kim et al., 2015", "19M", "-", "78.9"),
    ("LSTM (large)", "Zaremba et al., 2014", "66M", "82.2", "78.4"),
    ("VD-LSTM (large, untied, MC)", "Gal, 2015", "66M", "-", "73.4 ± 0.0"),
    ("Pointer Sentinel-LSTM(medium)", "Merity et al., 2016", "21M", "72.4", "70.9"),
    ("38 Large LSTMs", "Zaremba et al., 2014", "2.51B", "71.9", "68.7"),
    ("10 Large VD-LSTMs", "Gal, 2015", "660M", "-", "68.7"),
    ("VD-RHN", "Zilly et al., 2016", "32M", "71.2", "68.5"),
    ("VD-LSTM+REAL (large)", None, "51M", "71.1", "68.5"),
    ("VD-RHN+RE", "Zilly et al., 2016", "24M", "68.1", "66.0"),
)
_OWN_SYSTEMS: dict[str, tuple[str, str]] = {"VD-LSTM+REAL (large)": ("large", "real")}
_UNITS = {"M": 1e6, "B": 1e9}


def _value(printed: str) -> float:
    if printed[-1] in _UNITS:
        return round(float(printed[:-1]) * _UNITS[printed[-1]])
    return float(printed.split(" ± ")[0])


def _rows() -> Iterator[PaperNumber]:
    for table, corpora in _PERPLEXITIES.items():
        for corpus, sizes in corpora.items():
            for size, variants in sizes.items():
                for variant, values in variants.items():
                    for quantity, printed in zip(QUANTITIES, values, strict=False):
                        yield PaperNumber(
                            table=table, system=_LABELS[variant], quantity=quantity, value=_value(printed),
                            printed=printed, corpus=corpus, size=size, variant=variant,
                        )  # fmt: skip
    for system, citation, num_params, valid, test in _TABLE_3:
        own = _OWN_SYSTEMS.get(system)
        for quantity, printed in zip(QUANTITIES, (valid, test, num_params), strict=True):
            if printed != "-":
                yield PaperNumber(
                    table="Table 3", system=system, quantity=quantity, value=_value(printed), printed=printed,
                    corpus="ptb", size=own and own[0], variant=own and own[1], citation=citation,
                )  # fmt: skip


NUMBERS: tuple[PaperNumber, ...] = tuple(_rows())
"""Tables 1 to 3, a row per number."""


def perplexity(corpus: str, size: str, variant: str, quantity: str) -> PaperNumber | None:
    """The paper's ``valid_ppl`` or ``test_ppl`` of a setting (Tables 1 and 2), or None if it reports none."""
    for number in NUMBERS:
        setting = (number.corpus, number.size, number.variant)
        if number.table != "Table 3" and setting == (corpus, size, variant) and number.quantity == quantity:
            return number
    return None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The ten most probable next words that Table 4 prints for a phrase of the PTB test split, large network."""

    phrase: str
    next_words: str
    """The words that follow in the text."""
    variant: str
    words: tuple[tuple[str, str], ...]
    """(word, probability as printed), in descending order: the table has them in two columns of five."""


def _top_10(printed: str) -> tuple[tuple[str, str], ...]:
    parts = printed.split()
    return tuple(zip(parts[::2], parts[1::2], strict=True))


# The words that follow, then what VD-LSTM and VD-LSTM+REAL predict, for each of the paper's phrases in its order.
_TABLE_4 = (
    (
        "federal court",
        "the 0.27 a 0.13 federal 0.13 N 0.09 <unk> 0.05 an 0.03 august 0.01 new 0.01 response 0.01 connection 0.01",
        "federal 0.22 the 0.1 a 0.08 N 0.06 state 0.04 connection 0.03 august 0.03 july 0.03 an 0.03 september 0.03",
    ),
    (
        "august",
        "the 0.09 N 0.08 a 0.07 <unk> 0.07 was 0.04 in 0.03 has 0.03 is 0.02 will 0.02 its 0.02",
        "august 0.08 N 0.05 early 0.05 september 0.05 the 0.03 a 0.03 in 0.03 that 0.02 ended 0.02 its 0.02",
    ),
    (
        "completed",
        "the 0.06 <unk> 0.05 a 0.05 in 0.04 n't 0.04 to 0.03 likely 0.03 expected 0.03 scheduled 0.01 completed 0.01",
        "expected 0.1 completed 0.04 <unk> 0.03 the 0.03 in 0.03 a 0.03 scheduled 0.03 n't 0.03 due 0.02 to 0.01",
    ),
    (
        "technology",
        "<unk> 0.33 the 0.06 a 0.01 other 0.01 others 0.01 industry 0.01 commerce 0.01 planning 0.01 management 0.01 "
        "mail 0.01",
        "<unk> 0.09 health 0.08 development 0.04 the 0.04 a 0.03 industry 0.03 business 0.02 telecomm. 0.02 human 0.02 "
        "other 0.01",
    ),
)
TABLE_4: tuple[Prediction, ...] = tuple(
    Prediction(phrase=phrase.text, next_words=following, variant=variant, words=_top_10(printed))
    for phrase, (following, *columns) in zip(PHRASES["ptb"], _TABLE_4, strict=True)
    for variant, printed in zip(("baseline", "real"), columns, strict=True)
)
"""Table 4, an entry per phrase and network."""


@dataclass(frozen=True, kw_only=True)
class FigureReading:
    """A subspace distance of Figure 1 as the paper states it: an interval that holds the value."""

    panel: str
    beta: float | None
    """Proportion of the augmented loss (eq. 6.1); None if the reading is for the whole panel."""
    tau: float | None
    """Temperature; None if the reading is for the whole panel."""
    low: float
    high: float
    """The interval is this project's reading of the words or the axis that ``source`` names."""
    source: str


# The figure's curves are drawings: only what the text of section 6.2, the captions and the printed axes state is here.
FIGURE_1: tuple[FigureReading, ...] = (
    FigureReading(panel="a", beta=0.0, tau=10.0, low=0.9, high=1.0, source='6.2: "the distance is almost 1"'),
    FigureReading(panel="a", beta=1.0, tau=10.0, low=0.055, high=0.065, source='6.2: "reaches around 0.06"'),
    FigureReading(panel="b", beta=1.0, tau=None, low=0.06, high=0.20, source="vertical axis of panel b, tau 0 to 40"),
)
FIGURE_1_RUNS = 10
"""Independent runs behind each point of Figure 1 (its caption)."""
