"""Every number of Tables 1 to 4 against the paper's plain text, and every number of that text against ours."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from analysis.paper import FIGURE_1, NUMBERS, QUANTITIES, TABLE_4, PaperNumber, Prediction, perplexity
from trainables.recipes import CORPORA, SIZES, VARIANTS

TEXT = (Path(__file__).parent / "data" / "paper_tables.txt").read_text(encoding="utf-8")
TABLE_1_AND_2_CORPORA = {"Table 1": ("ptb", "wikitext2"), "Table 2": ("wikitext2-a", "wikitext2-b")}


def lines_of(table: str) -> list[str]:
    """The lines of one table that hold numbers, its two or more heading lines left out."""
    section = TEXT.split(f"{table}\n")[1].split("Table ")[0].splitlines()
    return section[1 + max(i for i, line in enumerate(section) if "Test" in line) :]


def numbers_in_the_text() -> set[tuple[str | None, ...]]:
    """(table, corpus, size, variant or system, quantity, as printed) of each number that the text holds."""
    found: set[tuple[str | None, ...]] = set()
    variants = {v.label: v.name for v in VARIANTS.values()}
    for table, corpora in TABLE_1_AND_2_CORPORA.items():
        size = None
        for line in lines_of(table):
            heading, label, *settings = line.split("\t")
            if units := re.search(r"\((\d+) units\)", heading):
                size = next(s.name for s in SIZES.values() if s.hidden_size == int(units[1]))
            elif table == "Table 1" and size is None:
                size = "small"  # the heading of the small rows stands beside their second line
            for i, printed in enumerate(settings):
                found.add((table, corpora[i // 2], size, variants[label], QUANTITIES[i % 2], printed))
    for line in lines_of("Table 3"):
        system, num_params, valid, test = line.split("\t")
        system = re.sub(r" \((?:[^()]*\d{4}a?|Mikolov & ZWeig|Mikolov & Zweig)\)|( \d)+$", "", system)
        for quantity, printed in zip(QUANTITIES, (valid, test, num_params), strict=True):
            found.add(("Table 3", "ptb", None, system.replace(" +", "+"), quantity, printed))
    return {row for row in found if row[-1] != "-"}


def key(number: PaperNumber) -> tuple[str | None, ...]:
    size, name = (None, number.system) if number.table == "Table 3" else (number.size, number.variant)
    return (number.table, number.corpus, size, name, number.quantity, number.printed)


def test_the_numbers_are_those_of_the_text() -> None:
    assert Counter(map(key, NUMBERS)) == Counter(numbers_in_the_text())


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{n.table}-{n.system}-{n.corpus}-{n.size}-{n.quantity}")
def test_the_value_is_what_is_printed(number: PaperNumber) -> None:
    mantissa = float(re.match(r"[\d.]+", number.printed)[0])  # type: ignore[index]
    scale = {"M": 1e6, "B": 1e9}.get(number.printed[-1], 1)
    assert number.value == pytest.approx(mantissa * scale, rel=1e-12)
    assert (scale > 1) == (number.quantity == "num_params")


def test_names_are_the_registries() -> None:
    for number in NUMBERS:
        assert number.corpus in CORPORA
        assert number.size is None or number.size in SIZES
        if number.variant is not None and number.table != "Table 3":
            assert number.system == VARIANTS[number.variant].label


def test_a_setting_that_the_paper_does_not_report() -> None:
    assert perplexity("wikitext2", "large", "real", "test_ppl") is None
    assert perplexity("toy", "tiny", "real", "test_ppl") is None


def test_readings_of_figure_1_are_distances() -> None:
    assert {r.panel for r in FIGURE_1} == {"a", "b"}
    assert all(0 <= r.low <= r.high <= 1 for r in FIGURE_1)


def predictions_of(phrase: str, following: str) -> Counter[tuple[str, str]]:
    """The (word, probability as printed) pairs in a phrase's lines of the text's Table 4, of both networks together."""
    lines = TEXT.split("Table 4\n")[1].replace("hunki", "<unk>").replace("’", "'").splitlines()[1:]
    first = phrase.split()[0]
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    stop = next(i for i in range(start, len(lines)) if f"+ {following}" in lines[i])  # the phrase ends there
    settings = "\t".join(line.split("\t", 1)[1] for line in lines[start : stop + 1])
    return Counter(re.findall(r"([a-zN<][^\s\d]*?) ?(\d\.\d+)", settings))


def test_table_4_is_that_of_the_text() -> None:
    assert [(p.variant, p.next_words) for p in TABLE_4] == [
        (variant, words)
        for words in ("federal court", "august", "completed", "technology")
        for variant in ("baseline", "real")
    ]
    for baseline, real in zip(TABLE_4[::2], TABLE_4[1::2], strict=True):
        assert baseline.phrase == real.phrase
        assert predictions_of(real.phrase, real.next_words) == Counter([*baseline.words, *real.words])


@pytest.mark.parametrize("prediction", TABLE_4, ids=lambda p: f"{p.next_words}-{p.variant}")
def test_ten_words_in_descending_order(prediction: Prediction) -> None:
    probabilities = [float(probability) for _, probability in prediction.words]
    assert len({word for word, _ in prediction.words}) == 10
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) < 1
