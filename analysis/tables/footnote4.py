"""Footnote 4 of the paper: small PTB networks trained a second time from where they had ended."""

from __future__ import annotations

from typing import Any

from analysis.measures.sessions import Sessions, sessions
from analysis.measures.settings import second_session_of, settings_with_records
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.stats.intervals import CONFIDENCE, mean_perplexity
from analysis.tables.table import Column, Row, Source, Table, interval, number, p_value, plain, register
from study.records.records import Setting
from trainables.recipes import SIZES, VARIANTS

SETTINGS = tuple(Setting("ptb", "small", variant) for variant in VARIANTS)


@register("footnote4")
def footnote_4(results: Results) -> Table:
    """What a second training session does to each variant, within the same trials."""
    extra = [
        c for c in settings_with_records(results) if c not in SETTINGS and second_session_of(results, c) is not None
    ]
    rows = [_row(results, setting) for setting in (*SETTINGS, *extra)]
    columns = (
        Column(title="Model", text=plain("model"), left=True),
        Column(title="First session", text=number("first", missing="not run")),
        Column(title="Second session", text=number("second")),
        Column(title="Best of both", text=number("both")),
        Column(title="Second / first", text=interval("ratio", ".4f")),
        Column(title="p", text=p_value("p")),
        Column(title="Seeds", text=number("seeds", "d")),
        Column(title="Improved", text=plain("improved")),
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
        rows=tuple(row for row, _ in rows),
        columns=columns,
        narrow=(columns[0], *_narrow_sessions(), *columns[4:]),
        sources=tuple(source for _, sources in rows for source in sources),
    )


def _narrow_sessions() -> tuple[Column, ...]:
    return (
        Column(title="session\nfirst", text=number("first", missing="not run")),
        Column(title="\nsecond", text=number("second")),
        Column(title="\nboth", text=number("both")),
    )


def _row(results: Results, setting: Setting) -> tuple[Row, list[Source]]:
    study, name = second_session_of(results, setting), setting_name(setting)
    found = sessions(results, study) if study else None
    note = "" if study is None else "no complete trial under the paper's recipe yet"
    if found:
        note = _note(found, setting)
    sources = []
    if study and found:
        ids = " ".join(found.trial_ids)
        sources = [Source(name, column, study.study, ids) for column in ("first", "second", "both", "ratio")]
    data = {**setting._asdict(), "model": variant_label(setting.variant), "study": study.study if study else None}
    row = Row(
        name=name,
        data=data | _values(found),
        section=place_title(setting.corpus, setting.size),
        note=note,
        dim=found is None,
    )
    return row, sources


def _values(found: Sessions | None) -> dict[str, Any]:
    change = found.change if found else None
    means = {
        name: mean_perplexity(list(ppls.values()))
        for name, ppls in (("first", found.first), ("second", found.second), ("both", found.both))
    } if found else {}  # fmt: skip
    improved = sum(found.second[seed] < ppl for seed, ppl in found.first.items()) if found else 0
    return {
        **{name: mean.mean if (mean := means.get(name)) else None for name in ("first", "second", "both")},
        "ratio": change.ratio if change else None,
        "ratio_low": change.ratio_low if change else None,
        "ratio_high": change.ratio_high if change else None,
        "p": change.p_value if change else None,
        "seeds": change.num_pairs if change else None,
        "improved": f"{improved} of {len(found.first)}" if found else None,
        "second_session_epoch": found.epoch if found else None,
    }


def _note(found: Sessions, setting: Setting) -> str:
    full = SIZES[setting.size].max_epochs if setting.size in SIZES else None
    length = f"sessions of {found.epoch - 1} epochs"
    notes = [length if full is None or found.epoch > full else f"{length}, the full length is {full}"]
    if found.num_unfinished:
        notes.append(f"{found.num_unfinished} trials are not complete")
    if (change := found.change) and change.reason:
        notes.append(f"no interval: {change.reason}")
    return "; ".join(notes)
