"""Tables 1 and 2: perplexities of the variants beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from analysis import paper
from analysis.measures.pairs import KINDS
from analysis.measures.settings import Estimate, recipe_estimate, tuned_estimate
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.records.sources import keys_of, trial_keys
from analysis.records.studies import SettingStudy, setting_order, settings_with_records, study_of
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import (
    Cell,
    Column,
    Interval,
    Measured,
    Row,
    Table,
    Values,
    cell,
    is_missing,
    mean,
    number,
    plain,
    register,
)
from study.records.records import STATUSES, Setting
from trainables.recipes import COMPARED, VARIANTS

TABLE_1_SETTINGS, TABLE_2_SETTINGS = (
    tuple(Setting(*one) for one in product(*COMPARED[table], VARIANTS)) for table in ("table1", "table2")
)
TABLE_2_CORPORA = COMPARED["table2"][0]
SPLITS = ("valid", "test")
NOT_RUN, PARTIAL, DONE = "not run", "partial", "done"

_CAPTION = (
    "Recipe: the paper's recipe; tuned: the configuration that won the search, by validation perplexity on seeds "
    "of its own (in studies without a select block, the search's best). Both are means over fresh seeds of the best "
    f"epoch, taken on ln(perplexity), with their {CONFIDENCE:.0%} t-interval; a trial's test perplexity is read once. "
    "A difference is ours minus the paper's. A value with * is a single trial's own validation value in the search, "
    "not confirmed on fresh seeds. Seeds: of the recipe + of the tuned configuration."
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
    names = Column(title="Model", cell=plain("model"), left=True)
    places = [(kind, split) for kind in KINDS for split in SPLITS]
    return Table(
        name=name,
        title=title,
        caption=caption,
        rows=tuple(_row(results, setting) for setting in settings),
        columns=(
            names,
            Column(title="Paper valid", cell=number("paper_valid", missing="-")),
            Column(title="Paper test", cell=number("paper_test", missing="-")),
            *(Column(title=f"{kind.capitalize()} {split}", cell=_perplexity(kind, split)) for kind, split in places),
            *(
                Column(title=f"{kind.capitalize()} - paper, {split}", cell=number(f"{kind}_{split}_diff", "+.1f"))
                for kind, split in places
            ),
            Column(title="Seeds", cell=_seeds),
            Column(title="Trials", cell=number("num_trials", "d")),
            Column(title="Device-hours", cell=number("device_hours")),
        ),
        narrow=(
            names,
            Column(title="paper\nvalid", cell=number("paper_valid", missing="-")),
            Column(title="\ntest", cell=number("paper_test", missing="-")),
            *(
                Column(title=f"{kind if split == 'valid' else ''}\n{split}", cell=_perplexity(kind, split, short=True))
                for kind, split in places
            ),
            Column(title="test -\nrecipe", cell=number("recipe_test_diff", "+.1f")),
            Column(title="paper\ntuned", cell=number("tuned_test_diff", "+.1f")),
            Column(title="\ntrials", cell=number("num_trials", "d")),
            Column(title="device\nhours", cell=number("device_hours")),
        ),
    )


def _perplexity(kind: str, split: str, *, short: bool = False) -> Callable[[Values], Cell]:
    """Shows the mean and its t-interval (``short``: plus or minus half its width), or why there is no mean."""

    def found(values: Values) -> Cell:
        held: Interval = values[f"{kind}_{split}"]
        low, high = held.low, held.high

        def text(mean: float) -> str:
            shown = f"{mean:.1f}" + ("*" if values[f"{kind}_confirmed"] is False else "")
            if low is None or high is None:
                return shown
            return f"{shown} ±{max(high - mean, mean - low):.1f}" if short else f"{shown} ({low:.1f} to {high:.1f})"

        not_run = NOT_RUN if kind == "recipe" else ""
        missing = not_run if values["state"] == NOT_RUN else "none yet"
        return cell(held, text, missing="-" if kind == "tuned" and values["searched"] is False else missing)

    return found


def _seeds(values: Values) -> Cell:
    counts: list[Measured] = [values[f"{kind}_valid_seeds"] for kind in KINDS]
    if all(is_missing(count.value) for count in counts):
        return Cell("")
    text = " + ".join("0" if is_missing(count.value) else str(count.value) for count in counts)
    return Cell(text, tuple(dict.fromkeys(key for count in counts for key in count.trials)))


def _row(results: Results, setting: Setting) -> Row:
    """The row of one setting, run or not."""
    study = study_of(results, setting)
    numbers = {split: paper.perplexity(*setting, f"{split}_ppl") for split in SPLITS}
    targets = {split: n.value if n else None for split, n in numbers.items()}
    values: dict[str, Any] = {
        **setting._asdict(),
        "model": variant_label(setting.variant),
        "state": NOT_RUN,
        "searched": study.has_search if study else None,
        "study": study.study if study else None,
        "paper_table": next((n.table for n in numbers.values() if n), None),
        **{f"paper_{split}": target for split, target in targets.items()},
    }
    missing: dict[str, list[str]] = {}  # what is missing -> the estimates that lack it
    for kind, estimate_of in zip(KINDS, (recipe_estimate, tuned_estimate), strict=True):
        estimate = estimate_of(study) if study else None
        values |= {f"{kind}_origin": estimate and estimate.origin, f"{kind}_confirmed": estimate and estimate.confirmed}
        for split in SPLITS:
            values |= _perplexity_values(kind, split, study, estimate, targets[split])
        if study and (kind == "recipe" or study.has_search):
            for lack in estimate.missing if estimate else ("no result yet",):
                missing.setdefault(lack, []).append(kind)
    notes = [f"{' and '.join(kinds)}: {lack}" for lack, kinds in missing.items()]
    if study is not None:
        values["state"] = PARTIAL if missing else DONE
        notes += ["left out, of the same setting: " + ", ".join(study.others)] if study.others else []
    return Row(
        name=setting_name(setting),
        data={**values, **_effort(study)},
        section=place_title(setting.corpus, setting.size),
        notes=tuple(notes),
        dim=study is None,
    )


def perplexity(study: SettingStudy | None, estimate: Estimate | None, split: str) -> Interval:
    """Makes the value of an estimate's validation or test perplexity, missing where there is none."""
    if study is None or estimate is None:
        return Interval()
    found, ids = {
        "valid": (estimate.valid, estimate.trial_ids), "test": (estimate.test, estimate.test_trial_ids),
    }[split]  # fmt: skip
    return mean(found, trial_keys(study.study, ids))


def _perplexity_values(
    kind: str, split: str, study: SettingStudy | None, estimate: Estimate | None, target: float | None
) -> Values:
    found = perplexity(study, estimate, split)
    # A search value is the minimum of many: its distance to the paper would flatter.
    confirmed = found if estimate and estimate.confirmed else Interval()
    known = confirmed.value is not None and target is not None
    return {
        f"{kind}_{split}": found,
        f"{kind}_{split}_seeds": Measured(len(confirmed.trials) or None, confirmed.trials),
        f"{kind}_{split}_diff": Measured(confirmed.value - target if known else None, confirmed.trials),
    }


def _effort(study: SettingStudy | None) -> Values:
    if study is None:
        return dict.fromkeys(("num_trials", *(f"num_{status}" for status in STATUSES), "device_hours"))
    counts, trials = study.trials["status"].value_counts(), keys_of(study.trials.sort_values("trial_id"))
    return {
        "num_trials": Measured(len(study.trials), trials),
        **{f"num_{status}": int(counts.get(status, 0)) for status in STATUSES},
        "device_hours": Measured(float(study.trials["device_s"].sum()) / 3600.0, trials),
    }
