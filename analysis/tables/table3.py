"""Table 3: ours beside the literature's, and the parameters of every network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis import paper
from analysis.measures.settings import recipe_estimate, settings_with_records, study_of, tuned_estimate
from analysis.records.load import Results
from analysis.records.names import setting_name, variant_label
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.rows import TABLE_1_SETTINGS
from analysis.tables.table import Column, Row, Source, Table, interval, number, plain, register
from study.records.records import Setting
from trainables.config import paper_config
from trainables.recipes import CORPORA, SIZES, VARIANTS

# Systems of Table 3 that have the shape of one of this project's networks: (size, tied) -> systems.
_SAME_SHAPE = {
    ("medium", False): ("LSTM (medium)",),
    ("large", False): ("LSTM (large)", "VD-LSTM (large, untied, MC)"),
    ("large", True): ("VD-LSTM+REAL (large)",),
}


_QUANTITIES = {"params": "num_params", "valid": "valid_ppl", "test": "test_ppl"}


@register("table3")
def table_3(results: Results) -> Table:
    """Table 3: word-level perplexities on PTB, the paper's list with our parameters and results beside it."""
    rows = [*_literature_rows(results), *_own_rows(results)]
    columns = (
        Column(title="Model", text=plain("system"), left=True),
        Column(title="Parameters", text=plain("printed_params", missing="-")),
        Column(title="Valid", text=plain("printed_valid", missing="-")),
        Column(title="Test", text=plain("printed_test", missing="-")),
        Column(title="Ours: parameters", text=number("num_params", ",d")),
        Column(title="Recipe, valid", text=interval("recipe_valid")),
        Column(title="Recipe, test", text=interval("recipe_test")),
        Column(title="Tuned, valid", text=interval("tuned_valid")),
        Column(title="Tuned, test", text=interval("tuned_test")),
    )
    return Table(
        name="table3",
        title="Table 3: state of the art on PTB at the time, and ours",
        caption=(
            "Parameters, validation and test perplexity as the paper prints them, then ours. Our parameters are "
            "computed from the network of the same shape, one bias vector per gate; results are ours for the paper's "
            "own system alone, since the others were trained or evaluated in another way. Below them, our other "
            "networks on PTB that were confirmed on fresh seeds: means over seeds, taken on ln(perplexity), with "
            f"their {CONFIDENCE:.0%} t-intervals."
        ),
        rows=tuple(row for row, _ in rows),
        columns=columns,
        narrow=(
            columns[0],
            Column(title="paper\nparams", text=plain("printed_params", missing="-")),
            Column(title="\nvalid", text=plain("printed_valid", missing="-")),
            Column(title="\ntest", text=plain("printed_test", missing="-")),
            Column(title="ours\nparams", text=number("num_params", ",d")),
            Column(title="test\nrecipe", text=number("recipe_test")),
            Column(title="\ntuned", text=number("tuned_test")),
        ),
        sources=tuple(source for _, sources in rows for source in sources),
    )


def _literature_rows(results: Results) -> Iterator[tuple[Row, list[Source]]]:
    numbers = [n for n in paper.NUMBERS if n.table == "Table 3"]
    for system in dict.fromkeys(n.system for n in numbers):
        own = {n.quantity: n for n in numbers if n.system == system}
        first = next(iter(own.values()))
        setting = Setting("ptb", first.size, first.variant) if first.size and first.variant else None
        shape = next((shape for shape, systems in _SAME_SHAPE.items() if system in systems), None)
        results_of, sources, note = _results(results, setting, system) if setting else (_no_results(), [], "")
        data = {
            "system": f"{system}, {first.citation}" if first.citation else system,
            **{f"printed_{key}": own[q].printed if q in own else None for key, q in _QUANTITIES.items()},
            **{f"paper_{key}": own[q].value if q in own else None for key, q in _QUANTITIES.items()},
            "num_params": _num_params(*shape) if shape else None,
            **results_of,
        }
        yield Row(name=system, data=data, section="The paper's list", note=note), sources


def _own_rows(results: Results) -> Iterator[tuple[Row, list[Source]]]:
    """Our networks on PTB that the paper's list lacks, where a seed is confirmed."""
    listed = {(n.size, n.variant) for n in paper.NUMBERS if n.table == "Table 3" and n.size}
    for setting in settings_with_records(results):
        known = setting.corpus == "ptb" and setting.size in SIZES and setting.variant in VARIANTS
        if not known or (setting.size, setting.variant) in listed:
            continue
        name = setting_name(setting)
        values, sources, note = _results(results, setting, name)
        if not sources:
            continue
        printed = {split: paper.perplexity(*setting, f"{split}_ppl") for split in ("valid", "test")}
        data = {
            "system": f"{variant_label(setting.variant)} ({setting.size})",
            **{f"printed_{key}": None for key in _QUANTITIES},
            **{f"paper_{key}": None for key in _QUANTITIES},
            **{f"printed_{split}": n.printed if n else None for split, n in printed.items()},
            **{f"paper_{split}": n.value if n else None for split, n in printed.items()},
            "num_params": paper_config(setting.variant, setting.size, setting.corpus).num_params,
            **values,
        }
        yield Row(name=name, data=data, section="Our other networks (printed: Table 1)", note=note), sources


def _no_results() -> dict[str, Any]:
    return {
        f"{kind}_{split}{end}": None
        for kind in ("recipe", "tuned")
        for split in ("valid", "test")
        for end in ("", "_low", "_high", "_seeds")
    }


def _results(results: Results, setting: Setting, row: str) -> tuple[dict[str, Any], list[Source], str]:
    """Our confirmed perplexities of a setting, the trials behind them, and what they lack."""
    values, sources = _no_results(), []
    missing: dict[str, None] = {}
    study = study_of(results, setting)
    if study is None:
        return values, [], ""
    for kind, estimate in (("recipe", recipe_estimate(study)), ("tuned", tuned_estimate(study))):
        if estimate is None or not estimate.confirmed:
            continue
        missing |= dict.fromkeys(f"{kind}: {lack}" for lack in estimate.missing)
        for split, mean, ids in (
            ("valid", estimate.valid, estimate.trial_ids),
            ("test", estimate.test, estimate.test_trial_ids),
        ):
            if mean:
                ends = {"": mean.mean, "_low": mean.low, "_high": mean.high, "_seeds": mean.num_seeds}
                values |= {f"{kind}_{split}{end}": value for end, value in ends.items()}
                sources.append(Source(row, f"{kind}_{split}", study.study, " ".join(ids)))
    return values, sources, "; ".join(missing)


def _num_params(size: str, tied: bool) -> int:
    variant = next(v.name for v in VARIANTS.values() if v.tie_weights == tied)
    return paper_config(variant, size, "ptb").num_params


@register("parameters")
def parameters(results: Results) -> Table:
    """Trainable parameters of each network: computed, recorded by its trials, and in the paper's Table 3."""
    rows = list(_parameter_rows(results))
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


def _parameter_rows(results: Results) -> Iterator[tuple[Row, list[Source]]]:
    shapes = dict.fromkeys((c.corpus, c.size) for c in TABLE_1_SETTINGS)
    run = [
        c for c in settings_with_records(results) if c.corpus in CORPORA and c.size in SIZES and c.variant in VARIANTS
    ]
    for corpus, size in shapes | dict.fromkeys((c.corpus, c.size) for c in run):
        for tied in (False, True):
            variants = [v for v in VARIANTS.values() if v.tie_weights == tied]
            systems = _SAME_SHAPE.get((size, tied), ()) if corpus == "ptb" else ()
            same = [n for n in paper.NUMBERS if n.quantity == "num_params" and n.system in systems]
            trials = results.trials
            trials = trials[(trials["corpus"] == corpus) & (trials["size"] == size) & trials["num_params"].notna()]
            trials = trials[trials["variant"].isin([v.name for v in variants])]
            computed = paper_config(variants[0].name, size, corpus).num_params
            counts = sorted({int(n) for n in trials["num_params"]})
            name = f"{corpus}/{size}/{'tied' if tied else 'untied'}"
            wrong = [n for n in counts if n != computed]
            yield (
                Row(
                    name=name,
                    data={
                        "corpus": CORPORA[corpus].title,
                        "size": size,
                        "models": ", ".join(v.label for v in variants),
                        "num_params": computed,
                        "recorded": counts[0] if len(counts) == 1 else None,
                        "paper": ", ".join(dict.fromkeys(n.printed for n in same)) or None,
                        "paper_system": "; ".join(f"{n.system}, {n.citation}" if n.citation else n.system for n in same)
                        or None,
                    },
                    note="; ".join(f"trials recorded {n:,} parameters, not {computed:,}" for n in wrong),
                ),
                [Source(name, "recorded", study, " ".join(sorted(ids))) for study, ids in _ids_by_study(trials)],
            )


def _ids_by_study(trials: pd.DataFrame) -> list[tuple[str, list[str]]]:
    return [(str(study), list(group["trial_id"])) for study, group in trials.groupby("study")]
