"""Tables 1 and 2: perplexities of the variants beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from analysis.measures.settings import setting_order, settings_with_records
from analysis.records.load import Results
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.rows import NOT_RUN, TABLE_1_SETTINGS, TABLE_2_CORPORA, TABLE_2_SETTINGS, perplexity_row
from analysis.tables.table import Column, Table, Values, is_missing, number, plain, register
from study.records.records import Setting

_CAPTION = (
    "Recipe: the paper's recipe; tuned: the best configuration of the search by validation perplexity. Both are means "
    f"over fresh seeds of the best epoch, taken on ln(perplexity), with their {CONFIDENCE:.0%} t-interval; a trial's "
    "test perplexity is read once. A difference is ours minus the paper's. A value with * is a single trial's own "
    "validation value in the search, not confirmed on fresh seeds. Seeds: of the recipe + of the tuned configuration."
)


@register("table1")
def table_1(results: Results) -> Table:
    """Table 1: final perplexities of the variants, the paper's beside ours under its recipe and ours tuned.

    The paper's settings come first, run or not, with those it could not run; then whatever else the records hold.
    """
    extra = [c for c in settings_with_records(results) if c not in TABLE_1_SETTINGS and c.corpus not in TABLE_2_CORPORA]
    return _perplexities(
        results,
        (*TABLE_1_SETTINGS, *sorted(extra, key=setting_order)),
        name="table1",
        title="Table 1: validation and test perplexity",
        caption=f"Word-level perplexities. {_CAPTION}",
    )


@register("table2")
def table_2(results: Results) -> Table:
    """Table 2: the small networks on either half of the WikiText-2 training split, and what else was run on them."""
    extra = [c for c in settings_with_records(results) if c.corpus in TABLE_2_CORPORA and c not in TABLE_2_SETTINGS]
    return _perplexities(
        results,
        (*TABLE_2_SETTINGS, *sorted(extra, key=setting_order)),
        name="table2",
        title="Table 2: the two halves of WikiText-2",
        caption=(
            "Word-level perplexities of networks trained on the first and on the second half of the WikiText-2 "
            f"training split, each about as large as that of PTB. {_CAPTION}"
        ),
    )


def _perplexities(results: Results, settings: Iterable[Setting], *, name: str, title: str, caption: str) -> Table:
    rows, sources = [], []
    for setting in settings:
        row, behind = perplexity_row(results, setting)
        rows.append(row)
        sources += behind
    names = Column(title="Model", text=plain("model"), left=True)
    return Table(
        name=name,
        title=title,
        caption=caption,
        rows=tuple(rows),
        columns=(
            names,
            Column(title="Paper valid", text=number("paper_valid", missing="-")),
            Column(title="Paper test", text=number("paper_test", missing="-")),
            *(
                Column(title=f"{kind.capitalize()} {split}", text=_perplexity(f"{kind}_{split}", interval=True))
                for kind in ("recipe", "tuned")
                for split in ("valid", "test")
            ),
            *(
                Column(title=f"{kind.capitalize()} - paper, {split}", text=number(f"{kind}_{split}_diff", "+.1f"))
                for kind in ("recipe", "tuned")
                for split in ("valid", "test")
            ),
            Column(title="Seeds", text=_seeds),
            Column(title="Trials", text=number("num_trials", "d")),
            Column(title="Device-hours", text=number("device_hours")),
        ),
        narrow=(
            names,
            Column(title="paper\nvalid", text=number("paper_valid", missing="-")),
            Column(title="\ntest", text=number("paper_test", missing="-")),
            *(
                Column(
                    title=f"{kind if split == 'valid' else ''}\n{split}",
                    text=_perplexity(f"{kind}_{split}", interval=False),
                )
                for kind in ("recipe", "tuned")
                for split in ("valid", "test")
            ),
            Column(title="test -\nrecipe", text=number("recipe_test_diff", "+.1f")),
            Column(title="paper\ntuned", text=number("tuned_test_diff", "+.1f")),
            Column(title="\ntrials", text=number("num_trials", "d")),
            Column(title="device\nhours", text=number("device_hours")),
        ),
        sources=tuple(sources),
    )


def _perplexity(key: str, *, interval: bool) -> Callable[[Values], str]:
    """The mean and its t-interval, or half of the interval's width; what the state is where there is none."""

    def text(values: Values) -> str:
        mean, low, high = (values[key + end] for end in ("", "_low", "_high"))
        if is_missing(mean) and key.startswith("tuned") and values["searched"] is False:
            return "-"
        if is_missing(mean):
            return {NOT_RUN: NOT_RUN if key.startswith("recipe") else ""}.get(values["state"], "none yet")
        shown = f"{mean:.1f}" + ("*" if values[f"{key.split('_')[0]}_confirmed"] is False else "")
        if is_missing(low):
            return shown
        return f"{shown} ({low:.1f} to {high:.1f})" if interval else f"{shown} ±{max(high - mean, mean - low):.1f}"

    return text


def _seeds(values: Values) -> str:
    counts = [values[f"{kind}_valid_seeds"] for kind in ("recipe", "tuned")]
    return "" if all(map(is_missing, counts)) else " + ".join("0" if is_missing(c) else str(c) for c in counts)
