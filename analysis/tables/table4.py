"""Table 4: the next words that trained networks predict after a phrase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pandas as pd

from analysis import paper
from analysis.measures.settings import shortfall
from analysis.records.load import Results
from analysis.records.names import place_title, variant_label
from analysis.records.sources import TrialKey
from analysis.records.studies import study_of
from analysis.records.trials import measured
from analysis.tables.table import (
    Cell,
    Column,
    Measured,
    Row,
    Table,
    Values,
    cell,
    is_missing,
    plain,
    register,
    value_of,
)
from study.records.records import Setting

COMPARED = ("baseline", "real")
"""The networks of Table 4."""
_NUM_RANKS = 10


class _Shown(NamedTuple):
    """The predictions of one trial, or of none."""

    trial: TrialKey
    rows: pd.DataFrame
    note: str
    """Shortcoming of its weights, for instance short training."""


@register("table4")
def table_4(results: Results) -> Table:
    """Table 4: the ten most probable next words after each phrase, the paper's beside ours."""
    rows: list[Row] = []
    places: list[tuple[str, str]] = [
        (str(corpus), str(size))
        for corpus, size in results.predictions[["corpus", "size"]].drop_duplicates().itertuples(index=False)
    ]
    if "ptb" not in dict(places):
        places.insert(0, ("ptb", "large"))  # the paper's predictions alone
    for corpus, size in places:
        shown = {variant: _best_trial(results, Setting(corpus, size, variant)) for variant in COMPARED}
        recorded = dict.fromkeys(phrase for one in shown.values() if one for phrase in one.rows["phrase"])
        printed = dict.fromkeys(one.phrase for one in paper.TABLE_4) if corpus == "ptb" else {}
        for phrase in printed | recorded:
            rows += _phrase_rows(corpus, size, phrase, shown)
    columns = (
        Column(title="Rank", cell=plain("rank"), left=True),
        *(
            Column(title=f"{variant_label(variant)}, {whose}", cell=_word(f"{prefix}{variant}"), left=True)
            for whose, prefix in (("paper", "paper_"), ("ours", ""))
            for variant in COMPARED
        ),
    )
    return Table(
        name="table4",
        title="Table 4: the next word",
        caption=(
            "The ten words that each network holds most probable after a phrase, with their probabilities; the heading "
            "names the words that follow in the text. The paper's are of its large networks, as printed. Ours are of "
            "the trial with the lowest validation perplexity of those whose predictions were recorded; another seed "
            "orders close words otherwise."
        ),
        rows=tuple(rows),
        columns=columns,
        narrow=columns,
    )


def _best_trial(results: Results, setting: Setting) -> _Shown | None:
    """The predictions of the trial of lowest validation perplexity, in the study that stands for the setting."""
    frame = results.predictions
    own = frame[
        (frame["corpus"] == setting.corpus) & (frame["size"] == setting.size) & (frame["variant"] == setting.variant)
    ]
    if own.empty:
        return None
    study = study_of(results, setting)
    name = study.study if study and study.study in set(own["study"]) else str(own["study"].iloc[0])
    trials = results.trials[(results.trials["study"] == name) & results.trials["trial_id"].isin(own["trial_id"])]
    ppl = measured(results.evaluations, trials, "valid").fillna(trials["best_valid_ppl"].astype(float))
    own = own[own["study"] == name]
    best = trials.loc[ppl.idxmin(), "trial_id"] if ppl.notna().any() else own["trial_id"].iloc[0]
    lacks = shortfall(study, trials) if study and len(trials) else []
    note = f"{variant_label(setting.variant)}: {lacks[0]}" if lacks else ""
    return _Shown(trial=TrialKey(name, str(best)), rows=own[own["trial_id"] == best], note=note)


def _phrase_rows(corpus: str, size: str, phrase: str, shown: dict[str, _Shown | None]) -> Iterator[Row]:
    """A row for the word that follows, then one per rank."""
    theirs = {one.variant: one for one in paper.TABLE_4 if one.phrase == phrase and corpus == "ptb"}
    ours = {v: one.rows[one.rows["phrase"] == phrase].sort_values("rank") for v, one in shown.items() if one}
    ours = {variant: rows for variant, rows in ours.items() if len(rows)}
    follows = [str(word) for rows in ours.values() for word in rows["next_word"].dropna()]
    following = next(iter(theirs.values())).next_words if theirs else (follows or [""])[0]
    heading = f"... {phrase} + {following}" if following else f"... {phrase}"
    heading += f" ({place_title(corpus, size)})" if ours else ""
    target = follows[0] if follows else following.split(" ")[0]
    ranks = range(1, 1 + max([_NUM_RANKS, *(int(rows["rank"].max()) for rows in ours.values())]))
    notes = tuple(one.note for v, one in shown.items() if one and v in ours and one.note)
    order = [0, *ranks] if target else [*ranks]
    for rank in order:
        data: dict[str, Any] = {
            "corpus": corpus,
            "size": size,
            "phrase": phrase,
            "next_words": following,
            "rank": rank or f"next: {target}",
        }
        for variant in COMPARED:
            words = theirs[variant].words if variant in theirs else ()
            data[f"paper_{variant}_known"], data[f"{variant}_known"] = bool(words), variant in ours
            data |= _pick(f"paper_{variant}", [(i, w, float(p)) for i, (w, p) in enumerate(words, 1)], rank, target)
            found = _pick(variant, _ranked(ours.get(variant), target), rank, target)
            trials = (one.trial,) if (one := shown[variant]) and variant in ours else ()
            data |= {key: Measured(value, trials) for key, value in found.items()}
        name = f"{corpus}/{size}/{phrase}/{rank}" if rank else f"{corpus}/{size}/{phrase}/next"
        yield Row(name=name, data=data, section=heading, notes=notes if rank == order[0] else (), dim=not ours)


def _ranked(rows: pd.DataFrame | None, target: str) -> list[tuple[int, str, float]]:
    """(rank, word, probability) of a trial's predictions, and of the word that follows wherever it stands."""
    if rows is None:
        return []
    found = [
        (int(r), str(w), float(p)) for r, w, p in zip(rows["rank"], rows["word"], rows["probability"], strict=True)
    ]
    first = rows.iloc[0]
    if target not in rows["word"].tolist() and not is_missing(first["next_word_rank"]):
        found.append((int(first["next_word_rank"]), target, float(first["next_word_probability"])))
    return found


def _pick(key: str, words: list[tuple[int, str, float]], rank: int, target: str) -> dict[str, Any]:
    """The word of a rank, or, for rank 0, the word that follows with its own rank."""
    found = next((one for one in words if (one[1] == target if rank == 0 else one[0] == rank)), None)
    return {
        f"{key}_word": found[1] if found else None,
        f"{key}_probability": found[2] if found else None,
        f"{key}_rank": found[0] if found else None,
    }


def _word(key: str) -> Callable[[Values], Cell]:
    """Shows a word and its probability; in the row of the word that follows, whose rank is text, its own rank."""

    def found(values: Values) -> Cell:
        of_next = isinstance(values["rank"], str)
        probability, rank = (value_of(values[f"{key}_{part}"]) for part in ("probability", "rank"))
        # The paper prints ten words; of ours the next word is recorded at any rank.
        missing = "not among the ten" if of_next and values[f"{key}_known"] else "-"
        return cell(
            values[f"{key}_word"],
            lambda word: f"{probability:.2g}, rank {rank}" if of_next else f"{word} {probability:.2f}",
            missing=missing,
        )

    return found
