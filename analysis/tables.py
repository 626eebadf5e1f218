"""The report's tables. To add one, write a function from ``Results`` to ``Table`` and ``register`` it."""

from __future__ import annotations

from collections.abc import Callable

from analysis.cells import cell_order, cells_with_records
from analysis.load import Results
from analysis.rows import NOT_RUN, TABLE_1_CELLS, parameter_rows, table_1_row
from analysis.statistics import CONFIDENCE
from analysis.table import TABLES, Column, Table, Values, is_missing, number, plain, register

__all__ = ["TABLES", "parameters", "table_1"]


@register("table1")
def table_1(results: Results) -> Table:
    """Table 1: final perplexities of the variants, the paper's beside ours under its recipe and ours tuned.

    The paper's cells come first, run or not, with those it could not run; then whatever else the records hold.
    """
    extra = [cell for cell in cells_with_records(results) if cell not in TABLE_1_CELLS]
    rows, sources = [], []
    for cell in (*TABLE_1_CELLS, *sorted(extra, key=cell_order)):
        row, behind = table_1_row(results, cell)
        rows.append(row)
        sources += behind
    names = Column(title="Model", text=plain("model"), left=True)
    return Table(
        name="table1",
        title="Table 1: validation and test perplexity",
        caption=(
            "Word-level perplexities. Recipe: the paper's recipe; tuned: the best configuration of the search by "
            "validation perplexity. Both are means over fresh seeds of the best epoch, taken on ln(perplexity), with "
            f"their {CONFIDENCE:.0%} t-interval; a trial's test perplexity is read once. A difference is ours minus "
            "the paper's. A value with * is a single trial's own validation value in the search, not confirmed on "
            "fresh seeds."
        ),
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
            Column(title="test - paper\nrecipe", text=number("recipe_test_diff", "+.1f")),
            Column(title="\ntuned", text=number("tuned_test_diff", "+.1f")),
            Column(title="\ntrials", text=number("num_trials", "d")),
            Column(title="device\nhours", text=number("device_hours")),
        ),
        sources=tuple(sources),
    )


def _perplexity(key: str, *, interval: bool) -> Callable[[Values], str]:
    """The mean and its t-interval, or half of the interval's width; what the state is where there is none."""

    def text(values: Values) -> str:
        mean, low, high = (values[key + end] for end in ("", "_low", "_high"))
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


@register("parameters")
def parameters(results: Results) -> Table:
    """Trainable parameters of each network: computed, recorded by its trials, and in the paper's Table 3."""
    rows = list(parameter_rows(results))
    names = (
        Column(title="Corpus", text=plain("corpus"), left=True),
        Column(title="Size", text=plain("size"), left=True),
        Column(title="Models", text=plain("models"), left=True),
    )
    columns = (
        *names,
        Column(title="Computed", text=number("num_params", ",d")),
        Column(title="Recorded", text=number("recorded", ",d")),
        Column(title="Paper (Table 3)", text=plain("paper")),
    )
    return Table(
        name="parameters",
        title="Trainable parameters",
        caption=(
            "Computed from the paper's recipe, one bias vector per gate; recorded: as the trials counted them. "
            "The paper's counts are those of its Table 3 for networks of the same shape."
        ),
        rows=tuple(row for row, _ in rows),
        columns=(*columns, Column(title="Paper's system", text=plain("paper_system"), left=True)),
        narrow=columns,
        sources=tuple(source for _, sources in rows for source in sources),
    )
