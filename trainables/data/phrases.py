"""The phrases of Table 4 and the words of section 6.4, on which the paper reads its trained networks' predictions."""

from __future__ import annotations

from dataclasses import dataclass

NUM_PREDICTED = 10  # words listed per phrase and network in Table 4
NAMED_WORDS = ("<unk>", "a", "an", "the")  # section 6.4: the proposed network gives them less probability
_PLUS = "+"  # marks the next word, as in Table 4


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """Some words, and the one that follows them."""

    text: str
    """Words of the corpus with single spaces between them."""
    next_word: str | None = None
    """The word that follows, if it is known."""

    def __str__(self) -> str:
        return self.text if self.next_word is None else f"{self.text} {_PLUS} {self.next_word}"


def parse_phrase(text: str) -> Phrase:
    """Parses a phrase as Table 4 writes it: ``its audit is + completed``; without ``+`` if the next word is unknown.

    Raises:
        ValueError: if there is no word, or not exactly one behind the ``+``.
    """
    words = text.split()
    after: list[str] = []
    if _PLUS in words:
        split = len(words) - 1 - words[::-1].index(_PLUS)
        words, after = words[:split], words[split + 1 :]
        if len(after) != 1:
            raise ValueError(f"a phrase must have one word behind its {_PLUS}, the next one, got {text!r}")
    if not words:
        raise ValueError(f"a phrase must have at least one word{f' before its {_PLUS}' if after else ''}, got {text!r}")
    return Phrase(text=" ".join(words), next_word=after[0] if after else None)


PHRASES: dict[str, tuple[Phrase, ...]] = {
    # Table 4, found in the test split; the paper prints <unk> as "hunki". Of "federal court" only the first word is
    # predicted.
    "ptb": tuple(
        map(
            parse_phrase,
            (
                "information international said it believes that the complaints filed in + federal",
                "oil company refineries ran flat out to prepare for a robust holiday driving season in july and "
                "+ august",
                "southmark said it plans to <unk> its <unk> to provide financial results as soon as its audit is "
                "+ completed",
                "merieux said the government 's minister of industry science and + technology",
            ),
        )
    )
}
"""Corpus -> the paper's phrases from its test split."""
