"""The rows of the tables: the values of the CSV and the trials behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis import paper
from analysis.cells import CellStudy, Estimate, cells_with_records, recipe_estimate, study_of, tuned_estimate
from analysis.load import Results
from analysis.table import Row, Source, Values
from study.records import STATUSES, Cell
from trainables.config import paper_config
from trainables.recipes import CORPORA, SIZES, VARIANTS

TABLE_1_CELLS = tuple(
    Cell(corpus, size, variant)
    for corpus in ("ptb", "wikitext2")
    for size in ("small", "medium", "large")
    for variant in VARIANTS
)
NOT_RUN, PARTIAL, DONE = "not run", "partial", "done"


def table_1_row(results: Results, cell: Cell) -> tuple[Row, list[Source]]:
    study = study_of(results, cell)
    name, values = "/".join(cell), _paper_values(cell)
    missing: dict[str, list[str]] = {}  # what is missing -> the estimates that lack it
    sources: list[Source] = []
    if study is not None:
        for kind, estimate in (("recipe", recipe_estimate(study)), ("tuned", tuned_estimate(study))):
            values |= _estimate_values(kind, estimate, values)
            for lack in estimate.missing if estimate else ("no result yet",):
                missing.setdefault(lack, []).append(kind)
            if estimate is None:
                continue
            for split, behind in (("valid", estimate.trial_ids), ("test", estimate.test_trial_ids)):
                if behind:
                    sources.append(Source(name, f"{kind}_{split}", study.study, " ".join(behind)))
        values |= {"state": PARTIAL if missing else DONE, "study": study.study, **_effort(study)}
        ids = " ".join(sorted(study.trials["trial_id"]))
        sources += [Source(name, column, study.study, ids) for column in ("num_trials", "device_hours") if ids]
    notes = [f"{' and '.join(kinds)}: {lack}" for lack, kinds in missing.items()]
    if study is not None and study.others:
        notes.append("left out, of the same cell: " + ", ".join(study.others))
    return Row(name=name, data=values, section=_section(cell), note="; ".join(notes), dim=study is None), sources


def _paper_values(cell: Cell) -> dict[str, Any]:
    numbers = {split: paper.perplexity(*cell, f"{split}_ppl") for split in ("valid", "test")}
    values: dict[str, Any] = {
        **cell._asdict(),
        "model": VARIANTS[cell.variant].label if cell.variant in VARIANTS else cell.variant,
        "state": NOT_RUN,
        "study": None,
        "paper_table": next((n.table for n in numbers.values() if n), None),
        **{f"paper_{split}": n.value if n else None for split, n in numbers.items()},
    }
    for kind in ("recipe", "tuned"):
        values |= _estimate_values(kind, None, values)
    return values | dict.fromkeys(("num_trials", *(f"num_{s}" for s in STATUSES), "device_hours"))


def _estimate_values(kind: str, estimate: Estimate | None, values: Values) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{kind}_origin": estimate.origin if estimate else None,
        f"{kind}_confirmed": estimate.confirmed if estimate else None,
    }
    for split in ("valid", "test"):
        mean = getattr(estimate, split) if estimate else None
        target = values[f"paper_{split}"]
        # A search value is the minimum of many: its distance to the paper would flatter.
        comparable = mean is not None and target is not None and estimate is not None and estimate.confirmed
        found |= {
            f"{kind}_{split}": mean.mean if mean else None,
            f"{kind}_{split}_low": mean.low if mean else None,
            f"{kind}_{split}_high": mean.high if mean else None,
            f"{kind}_{split}_seeds": mean.num_seeds if mean and estimate and estimate.confirmed else None,
            f"{kind}_{split}_diff": mean.mean - target if mean is not None and comparable else None,
        }
    return found


def _effort(study: CellStudy) -> dict[str, Any]:
    counts = study.trials["status"].value_counts()
    return {
        "num_trials": len(study.trials),
        **{f"num_{status}": int(counts.get(status, 0)) for status in STATUSES},
        "device_hours": float(study.trials["device_s"].sum()) / 3600.0,
    }


def _section(cell: Cell) -> str:
    title = CORPORA[cell.corpus].title if cell.corpus in CORPORA else cell.corpus
    units = f" ({SIZES[cell.size].hidden_size} units)" if cell.size in SIZES else ""
    return f"{title}, {cell.size}{units}"


# Systems of Table 3 that have the shape of one of this project's networks: (size, tied) -> systems.
_SAME_SHAPE = {
    ("medium", False): ("LSTM (medium)",),
    ("large", False): ("LSTM (large)", "VD-LSTM (large, untied, MC)"),
    ("large", True): ("VD-LSTM+REAL (large)",),
}


def parameter_rows(results: Results) -> Iterator[tuple[Row, list[Source]]]:
    shapes = dict.fromkeys((c.corpus, c.size) for c in TABLE_1_CELLS)
    run = [c for c in cells_with_records(results) if c.corpus in CORPORA and c.size in SIZES and c.variant in VARIANTS]
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
