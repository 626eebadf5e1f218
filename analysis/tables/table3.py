"""Table 3: ours beside the literature's, and the parameters of every network."""

from __future__ import annotations

from collections.abc import Iterator

from analysis import paper
from analysis.measures.pairs import KINDS
from analysis.measures.settings import recipe_estimate, tuned_estimate
from analysis.records.load import Results
from analysis.records.names import setting_name, variant_label
from analysis.records.sources import keys_of
from analysis.records.studies import settings_with_records, study_of
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import Column, Measured, Row, Table, interval, joined, number, plain, register
from analysis.tables.table1_2 import SPLITS, TABLE_1_SETTINGS, perplexity
from study.records.records import Setting
from trainables.recipes import CORPORA, NUM_LAYERS, SIZES, VARIANTS

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
    columns = (
        Column(title="Model", cell=plain("system"), left=True),
        Column(title="Parameters", cell=plain("printed_params", missing="-")),
        Column(title="Valid", cell=plain("printed_valid", missing="-")),
        Column(title="Test", cell=plain("printed_test", missing="-")),
        Column(title="Ours: parameters", cell=number("num_params", ",d")),
        Column(title="Recipe, valid", cell=interval("recipe_valid")),
        Column(title="Recipe, test", cell=interval("recipe_test")),
        Column(title="Tuned, valid", cell=interval("tuned_valid")),
        Column(title="Tuned, test", cell=interval("tuned_test")),
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
        rows=(*_literature_rows(results), *_own_rows(results)),
        columns=columns,
        narrow=(
            columns[0],
            Column(title="paper\nparams", cell=plain("printed_params", missing="-")),
            Column(title="\nvalid", cell=plain("printed_valid", missing="-")),
            Column(title="\ntest", cell=plain("printed_test", missing="-")),
            Column(title="ours\nparams", cell=number("num_params", ",d")),
            Column(title="test\nrecipe", cell=number("recipe_test")),
            Column(title="\ntuned", cell=number("tuned_test")),
        ),
    )


def _literature_rows(results: Results) -> Iterator[Row]:
    numbers = [n for n in paper.NUMBERS if n.table == "Table 3"]
    for system in dict.fromkeys(n.system for n in numbers):
        own = {n.quantity: n for n in numbers if n.system == system}
        first = next(iter(own.values()))
        setting = Setting("ptb", first.size, first.variant) if first.size and first.variant else None
        shape = next((shape for shape, systems in _SAME_SHAPE.items() if system in systems), None)
        values, notes = _results(results, setting)
        data = {
            "system": f"{system}, {first.citation}" if first.citation else system,
            **{f"printed_{key}": own[q].printed if q in own else None for key, q in _QUANTITIES.items()},
            **{f"paper_{key}": own[q].value if q in own else None for key, q in _QUANTITIES.items()},
            "num_params": _lstm_params("ptb", *shape) if shape else None,
            **values,
        }
        yield Row(name=system, data=data, section="The paper's list", notes=notes)


def _own_rows(results: Results) -> Iterator[Row]:
    """Our networks on PTB that the paper's list lacks, where a seed is confirmed."""
    listed = {(n.size, n.variant) for n in paper.NUMBERS if n.table == "Table 3" and n.size}
    for setting in settings_with_records(results):
        known = setting.corpus == "ptb" and setting.size in SIZES and setting.variant in VARIANTS
        if not known or (setting.size, setting.variant) in listed:
            continue
        values, notes = _results(results, setting)
        if all(value.value is None for value in values.values()):
            continue
        printed = {split: paper.perplexity(*setting, f"{split}_ppl") for split in SPLITS}
        data = {
            "system": f"{variant_label(setting.variant)} ({setting.size})",
            **{f"printed_{key}": None for key in _QUANTITIES},
            **{f"paper_{key}": None for key in _QUANTITIES},
            **{f"printed_{split}": n.printed if n else None for split, n in printed.items()},
            **{f"paper_{split}": n.value if n else None for split, n in printed.items()},
            "num_params": _recorded(results, setting),
            **values,
        }
        section = "Our other networks (printed: Table 1)"
        yield Row(name=setting_name(setting), data=data, section=section, notes=notes)


def _results(results: Results, setting: Setting | None) -> tuple[dict[str, Measured], tuple[str, ...]]:
    """Our confirmed perplexities of a setting, and what they lack."""
    study = study_of(results, setting) if setting else None
    values: dict[str, Measured] = {}
    missing: dict[str, None] = {}
    for kind, estimate_of in zip(KINDS, (recipe_estimate, tuned_estimate), strict=True):
        estimate = estimate_of(study) if study else None
        estimate = estimate if estimate and estimate.confirmed else None
        missing |= dict.fromkeys(f"{kind}: {lack}" for lack in (estimate.missing if estimate else ()))
        for split in SPLITS:
            found = perplexity(study, estimate, split)
            values[f"{kind}_{split}"] = found
            values[f"{kind}_{split}_seeds"] = Measured(len(found.trials) or None, found.trials)
    return values, tuple(missing)


def _lstm_params(corpus: str, size: str, tied: bool) -> int:
    """V H of the embedding, as many and V of an untied decoder, 8 H^2 + 4 H of each layer.

    By the formula, so that it stands beside what the trials have counted in their models.
    """
    hidden, vocab = SIZES[size].hidden_size, CORPORA[corpus].vocab_size
    decoder = 0 if tied else vocab * hidden + vocab
    return vocab * hidden + decoder + NUM_LAYERS * (8 * hidden**2 + 4 * hidden)


def _recorded(results: Results, setting: Setting) -> Measured:
    """Parameters that a setting's trials have counted, if they agree."""
    study = study_of(results, setting)
    if study is None:
        return Measured(None)
    trials = study.trials[study.trials["num_params"].notna()]
    counts = set(trials["num_params"])
    return Measured(int(counts.pop()) if len(counts) == 1 else None, keys_of(trials))


@register("parameters")
def parameters(results: Results) -> Table:
    """Trainable parameters of each network: computed, recorded by its trials, and in the paper's Table 3."""
    names = (
        Column(title="Corpus", cell=plain("corpus"), left=True),
        Column(title="Size", cell=plain("size"), left=True),
        Column(title="Models", cell=plain("models"), left=True),
    )
    columns = (
        *names,
        Column(title="Computed", cell=number("num_params", ",d")),
        Column(title="Recorded", cell=number("recorded", ",d")),
        Column(title="Paper (Table 3)", cell=plain("paper")),
    )
    return Table(
        name="parameters",
        title="Trainable parameters",
        caption=(
            "Computed for the paper's LSTM, one bias vector per gate; recorded: as the trials counted them. "
            "The paper's counts are those of its Table 3 for networks of the same shape."
        ),
        rows=tuple(_parameter_rows(results)),
        columns=(*columns, Column(title="Paper's system", cell=plain("paper_system"), left=True)),
        narrow=columns,
    )


def _parameter_rows(results: Results) -> Iterator[Row]:
    shapes = dict.fromkeys((c.corpus, c.size) for c in TABLE_1_SETTINGS)
    run = [
        c for c in settings_with_records(results) if c.corpus in CORPORA and c.size in SIZES and c.variant in VARIANTS
    ]
    for corpus, size in shapes | dict.fromkeys((c.corpus, c.size) for c in run):
        for cell, tied in dict.fromkeys((v.cell, v.tie_weights) for v in VARIANTS.values()):
            variants = [v for v in VARIANTS.values() if (v.cell, v.tie_weights) == (cell, tied)]
            of_paper = cell == "lstm"
            systems = _SAME_SHAPE.get((size, tied), ()) if of_paper and corpus == "ptb" else ()
            same = [n for n in paper.NUMBERS if n.quantity == "num_params" and n.system in systems]
            trials = results.trials
            trials = trials[(trials["corpus"] == corpus) & (trials["size"] == size) & trials["num_params"].notna()]
            trials = trials[trials["variant"].isin([v.name for v in variants])]
            if trials.empty and not of_paper:
                continue
            computed = _lstm_params(corpus, size, tied) if of_paper else None
            counts = sorted({int(n) for n in trials["num_params"]})
            cited = (f"{n.system}, {n.citation}" if n.citation else n.system for n in same)
            wrong = [n for n in counts if computed is not None and n != computed]
            yield Row(
                name=f"{corpus}/{size}/{'' if of_paper else f'{cell}/'}{'tied' if tied else 'untied'}",
                data={
                    "corpus": CORPORA[corpus].title,
                    "size": size,
                    "models": ", ".join(v.label for v in variants),
                    "num_params": computed,
                    "recorded": Measured(counts[0] if len(counts) == 1 else None, keys_of(trials)),
                    "paper": ", ".join(dict.fromkeys(n.printed for n in same)) or None,
                    "paper_system": joined(cited) or None,
                },
                notes=tuple(f"trials recorded {n:,} parameters, not {computed:,}" for n in wrong),
            )
