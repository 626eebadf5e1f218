"""The rows of Tables 1 and 2: the values of the CSV and the trials behind them."""

from __future__ import annotations

from itertools import product
from typing import Any

from analysis import paper
from analysis.measures.settings import Estimate, SettingStudy, recipe_estimate, study_of, tuned_estimate
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.tables.table import Row, Source, Values
from study.records.records import STATUSES, Setting
from trainables.recipes import COMPARED, VARIANTS

TABLE_1_SETTINGS, TABLE_2_SETTINGS = (
    tuple(Setting(*one) for one in product(*COMPARED[table], VARIANTS)) for table in ("table1", "table2")
)
TABLE_2_CORPORA = COMPARED["table2"][0]
NOT_RUN, PARTIAL, DONE = "not run", "partial", "done"


def perplexity_row(results: Results, setting: Setting) -> tuple[Row, list[Source]]:
    """The row of one setting, run or not, and the trials behind its numbers."""
    study = study_of(results, setting)
    name, values = setting_name(setting), _paper_values(setting)
    missing: dict[str, list[str]] = {}  # what is missing -> the estimates that lack it
    sources: list[Source] = []
    if study is not None:
        for kind, estimate in (("recipe", recipe_estimate(study)), ("tuned", tuned_estimate(study))):
            values |= _estimate_values(kind, estimate, values)
            if kind == "tuned" and not study.has_search:
                continue
            for lack in estimate.missing if estimate else ("no result yet",):
                missing.setdefault(lack, []).append(kind)
            if estimate is None:
                continue
            for split, behind in (("valid", estimate.trial_ids), ("test", estimate.test_trial_ids)):
                if behind:
                    sources.append(Source(name, f"{kind}_{split}", study.study, " ".join(behind)))
        values |= {
            "state": PARTIAL if missing else DONE,
            "searched": study.has_search,
            "study": study.study,
            **_effort(study),
        }
        ids = " ".join(sorted(study.trials["trial_id"]))
        sources += [Source(name, column, study.study, ids) for column in ("num_trials", "device_hours") if ids]
    notes = [f"{' and '.join(kinds)}: {lack}" for lack, kinds in missing.items()]
    if study is not None and study.others:
        notes.append("left out, of the same setting: " + ", ".join(study.others))
    row = Row(
        name=name,
        data=values,
        section=place_title(setting.corpus, setting.size),
        note="; ".join(notes),
        dim=study is None,
    )
    return row, sources


def _paper_values(setting: Setting) -> dict[str, Any]:
    numbers = {split: paper.perplexity(*setting, f"{split}_ppl") for split in ("valid", "test")}
    values: dict[str, Any] = {
        **setting._asdict(),
        "model": variant_label(setting.variant),
        "state": NOT_RUN,
        "searched": None,
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


def _effort(study: SettingStudy) -> dict[str, Any]:
    counts = study.trials["status"].value_counts()
    return {
        "num_trials": len(study.trials),
        **{f"num_{status}": int(counts.get(status, 0)) for status in STATUSES},
        "device_hours": float(study.trials["device_s"].sum()) / 3600.0,
    }
