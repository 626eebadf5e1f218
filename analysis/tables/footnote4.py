"""Footnote 4: small PTB networks trained for a second session from their final weights."""

from __future__ import annotations

from analysis.measures.sessions import Sessions, sessions
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.records.sources import TrialKey, trial_keys
from analysis.records.studies import second_session_of, settings_with_records
from analysis.stats.intervals import CONFIDENCE, mean_perplexity
from analysis.tables.table import (
    Column,
    Measured,
    Row,
    Table,
    Values,
    interval,
    number,
    p_value,
    plain,
    ratio,
    register,
)
from study.records.records import Setting
from trainables.recipes import SIZES, VARIANTS

SETTINGS = tuple(Setting("ptb", "small", variant) for variant in VARIANTS)


@register("footnote4")
def footnote_4(results: Results) -> Table:
    """The second training session of each variant against the first, within the same trials."""
    extra = [
        c for c in settings_with_records(results) if c not in SETTINGS and second_session_of(results, c) is not None
    ]
    columns = (
        Column(title="Model", cell=plain("model"), left=True),
        Column(title="First session", cell=number("first", missing="not run")),
        Column(title="Second session", cell=number("second")),
        Column(title="Best of both", cell=number("both")),
        Column(title="Second / first", cell=interval("ratio", ".4f")),
        Column(title="p", cell=p_value("p")),
        Column(title="Seeds", cell=number("seeds", "d")),
        Column(title="Improved", cell=plain("improved")),
    )
    return Table(
        name="footnote4",
        title="Footnote 4: a second training session",
        caption=(
            "The paper re-trained its small PTB networks from their final weights and reports that this did not change "
            "the baseline and improved the others. Here each trial runs on for as many epochs again, its learning "
            "rate back at the start. First, second session: the lowest validation perplexity of each, mean over seeds "
            "on ln(perplexity); best of both can only be as good or better, for it chooses among twice the epochs, so "
            "the comparison is of the second alone with the first: their ratio within each trial, below 1 where the "
            f"second is better, with its {CONFIDENCE:.0%} t-interval and the exact two-sided sign-flip test. "
            "Improved: trials whose second session went lower."
        ),
        rows=tuple(_row(results, setting) for setting in (*SETTINGS, *extra)),
        columns=columns,
        narrow=(columns[0], *_narrow_sessions(), *columns[4:]),
    )


def _narrow_sessions() -> tuple[Column, ...]:
    return (
        Column(title="session\nfirst", cell=number("first", missing="not run")),
        Column(title="\nsecond", cell=number("second")),
        Column(title="\nboth", cell=number("both")),
    )


def _row(results: Results, setting: Setting) -> Row:
    study = second_session_of(results, setting)
    found = sessions(results, study) if study else None
    notes: tuple[str, ...] = ("no complete trial under the paper's recipe yet",) if study else ()
    return Row(
        name=setting_name(setting),
        data={
            **setting._asdict(),
            "model": variant_label(setting.variant),
            "study": study.study if study else None,
            **_values(found, trial_keys(study.study, found.trial_ids) if study and found else ()),
        },
        section=place_title(setting.corpus, setting.size),
        notes=_notes(found, setting) if found else notes,
        dim=found is None,
    )


def _values(found: Sessions | None, behind: tuple[TrialKey, ...]) -> Values:
    change = found.change if found else None
    ppls = (found.first, found.second, found.both) if found else ({}, {}, {})
    means = {n: mean_perplexity(list(p.values())) for n, p in zip(("first", "second", "both"), ppls, strict=True)}
    improved = sum(found.second[seed] < ppl for seed, ppl in found.first.items()) if found else 0
    return {
        **{name: Measured(mean.mean if mean else None, behind) for name, mean in means.items()},
        "ratio": ratio(change, behind),
        "p": Measured(change.p_value if change else None, behind),
        "seeds": Measured(change.num_pairs if change else None, behind),
        "improved": Measured(f"{improved} of {len(found.first)}" if found else None, behind),
        "second_session_epoch": found.epoch if found else None,
    }


def _notes(found: Sessions, setting: Setting) -> tuple[str, ...]:
    full = SIZES[setting.size].max_epochs if setting.size in SIZES else None
    length = f"sessions of {found.epoch - 1} epochs"
    notes = [length if full is None or found.epoch > full else f"{length}, the full length is {full}"]
    if found.num_unfinished:
        notes.append(f"{found.num_unfinished} trials are not complete")
    if (change := found.change) and change.reason:
        notes.append(f"no interval: {change.reason}")
    return tuple(notes)
