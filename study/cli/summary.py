"""The last words of a run: each study's perplexities, and what tuning changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import scipy.stats
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.records.trials import PAPER_ORIGIN, SEARCH_BLOCKS
from study.search.ledger import Ledger
from study.search.winner import winner_of
from study.spec.spec import StudySpec
from trainables.recipes import PERPLEXITY, SINGLE_STREAM

CONFIDENCE = 0.95


def print_summary(specs: Sequence[StudySpec], storage: str, console: Console) -> None:
    """Prints a line of perplexities for each study, and below it a sentence on tuning and on trials that are missing.

    Args:
        specs: the studies.
        storage: of their records.
        console: to print to.

    Raises:
        StorageError: if the records cannot be read.
    """
    ledgers = [Ledger(spec, storage) for spec in specs]
    sign = "±" if console.encoding.startswith("utf") else "+-"
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("perplexities", no_wrap=True)
    for name in ("search\nvalid", "recipe\ntest", "tuned\ntest", "\nseeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for ledger in ledgers:
        search = [t.best_valid_ppl for t in ledger.in_block(*SEARCH_BLOCKS) if t.best_valid_ppl is not None]
        recipe, winner = _test_ppl(ledger, PAPER_ORIGIN), winner_of(ledger)
        tuned = {} if winner is None else _test_ppl(ledger, winner)
        table.add_row(
            ledger.spec.name,
            f"{min(search):.1f}" if search else "-",
            _mean(recipe, sign),
            _mean(tuned, sign),
            str(len(recipe)) if winner in (None, PAPER_ORIGIN) else f"{len(recipe)}+{len(tuned)}",
        )
    console.print(table)
    for ledger in ledgers:
        for sentence in (tuning_sentence(ledger), _missing(ledger)):
            if sentence:
                console.print(Text(f"{ledger.spec.name}: {sentence}"), soft_wrap=True)


def tuning_sentence(ledger: Ledger) -> str | None:
    """Returns what tuning changed in the test perplexity, with the paired t-interval over the confirm block's seeds.

    None for a study without a search, or before its winner is confirmed.
    """
    winner = winner_of(ledger)
    if winner is None:
        return None
    if winner == PAPER_ORIGIN:
        return "on fresh seeds no configuration of the search was better than the paper's recipe"
    recipe, tuned = _test_ppl(ledger, PAPER_ORIGIN), _test_ppl(ledger, winner)
    logs = [math.log(tuned[seed] / recipe[seed]) for seed in sorted(recipe.keys() & tuned.keys())]
    if not logs:
        return None
    change = f"tuned ({winner}) against the paper's recipe: test perplexity {_percent(statistics.fmean(logs))}"
    if len(logs) < 2:
        return f"{change}, one seed"
    half = _half_width(logs)
    low, high = (_percent(statistics.fmean(logs) + sign * half) for sign in (-1, 1))
    return f"{change} ({CONFIDENCE:.0%} interval {low} to {high}, {len(logs)} seeds)"


def _missing(ledger: Ledger) -> str | None:
    counts = {"to do": ledger.num_of_status("interrupted"), "failed": ledger.num_of_status("failed")}
    found = [f"{count} {'trial' if count == 1 else 'trials'} {what}" for what, count in counts.items() if count]
    return ", ".join(found) or None


def _test_ppl(ledger: Ledger, origin: str) -> dict[int, float]:
    """Seed -> single-stream test perplexity of the confirm trials of one configuration."""
    what = (SINGLE_STREAM, "test", PERPLEXITY)
    own = (t for t in ledger.in_block("confirm") if t.origin == origin and what in t.evaluations)
    return {trial.config.seed: trial.evaluations[what] for trial in own}


def _mean(ppl_by_seed: Mapping[int, float], sign: str) -> str:
    """Formats the mean, taken on ln(perplexity), and half its interval."""
    logs = [math.log(ppl) for ppl in ppl_by_seed.values()]
    if not logs:
        return "-"
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.1f}"
    return f"{math.exp(mean):.1f} {sign}{math.exp(mean + _half_width(logs)) - math.exp(mean):.1f}"


def _half_width(values: Sequence[float]) -> float:
    quantile = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(quantile) * statistics.stdev(values) / math.sqrt(len(values))


def _percent(log_ratio: float) -> str:
    return f"{math.expm1(log_ratio):+.1%}"
