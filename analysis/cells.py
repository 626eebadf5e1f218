"""What the records say about one cell (corpus x size x variant): the estimates behind the tables.

The tuned configuration is chosen by validation perplexity alone. The test split enters only as a value to report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.load import Results
from analysis.statistics import MeanPerplexity, mean_perplexity
from study.records import Cell
from trainables.recipes import CORPORA, SIZES, VARIANTS

NOT_CONFIRMED = "search value, not confirmed"
PAPER_ORIGIN = "paper"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How good one configuration is, and how sure that is."""

    origin: str
    """``paper``, or the search trial whose configuration it is."""
    confirmed: bool
    """Whether it rests on fresh seeds (the confirm block) or on a single trial of the search."""
    valid: MeanPerplexity | None
    test: MeanPerplexity | None
    trial_ids: tuple[str, ...]
    """The trials behind ``valid``."""
    test_trial_ids: tuple[str, ...] = ()
    """The trials behind ``test``."""
    missing: tuple[str, ...] = ()
    """What the estimate lacks, a phrase each."""


@dataclass(frozen=True, kw_only=True)
class CellStudy:
    """The study that stands for a cell."""

    cell: Cell
    study: str
    trials: pd.DataFrame
    """Its rows of ``Results.trials``."""
    num_seeds: int | None
    """Seeds planned for each confirmed configuration, by its latest run; None if no run is recorded."""
    others: tuple[str, ...] = ()
    """Studies of the same cell that are left out."""

    @property
    def search(self) -> pd.DataFrame:
        """Trials of the blocks default, random and tpe."""
        return self.trials[self.trials["block"] != "confirm"]

    @property
    def confirm(self) -> pd.DataFrame:
        """Trials of the confirm block."""
        return self.trials[self.trials["block"] == "confirm"]


def cells_with_records(results: Results) -> list[Cell]:
    """The cells that any trial or run belongs to, in the registries' order."""
    keys = list(Cell._fields)
    found = pd.concat([results.trials[keys], results.runs[keys]]).drop_duplicates()
    return sorted((Cell(*row) for row in found.itertuples(index=False)), key=cell_order)


def cell_order(cell: Cell) -> tuple[tuple[int, str], ...]:
    """Sorts cells as the registries do; names that they lack come last."""
    registries: tuple[Sequence[str], ...] = (list(CORPORA), list(SIZES), list(VARIANTS))
    return tuple(
        (names.index(name) if name in names else len(names), name) for names, name in zip(registries, cell, strict=True)
    )


def study_of(results: Results, cell: Cell) -> CellStudy | None:
    """The study that stands for a cell, or None if it has not been run.

    Of several, the one with the longest trials, then the most confirmed trials, then the most trials: how much was
    run decides, never how good it came out.
    """
    keys = list(Cell._fields)
    trials, runs = (frame[(frame[keys] == list(cell)).all(axis=1)] for frame in (results.trials, results.runs))
    names = sorted({*trials["study"], *runs["study"]})
    if not names:
        return None

    def amount(name: str) -> tuple[float, ...]:
        own = trials[trials["study"] == name]
        lengths = [0.0, *own["max_epochs"].dropna(), *runs.loc[runs["study"] == name, "max_epochs"].dropna()]
        confirmed = ((own["block"] == "confirm") & (own["status"] == "complete")).sum()
        return (max(lengths), float(confirmed), float(len(own)))

    best = max(names, key=amount)
    planned = runs.loc[runs["study"] == best, "num_seeds"].dropna()
    return CellStudy(
        cell=cell,
        study=best,
        trials=trials[trials["study"] == best],
        num_seeds=int(planned.iloc[-1]) if len(planned) else None,
        others=tuple(name for name in names if name != best),
    )


def recipe_estimate(study: CellStudy) -> Estimate | None:
    """The cell under the paper's recipe: its confirm trials, else the search's default trial, else None."""
    if (confirmed := _confirmed(study, PAPER_ORIGIN)) is not None:
        return confirmed
    return _search_value(study, study.search[study.search["block"] == "default"])


def tuned_estimate(study: CellStudy) -> Estimate | None:
    """The cell when tuned: of the complete search trials that were confirmed, the one of lowest validation perplexity.

    The default trial's configuration is the paper's recipe, so the recipe's confirm trials are its own. Where nothing
    is confirmed, the lowest validation perplexity of the search; None if there is none.
    """
    search = _by_validation(study.search[study.search["status"] == "complete"])
    origins = set(study.confirm.loc[study.confirm["status"] == "complete", "origin"])
    for position, (trial_id, block) in enumerate(zip(search["trial_id"], search["block"], strict=True)):
        origin = trial_id if trial_id in origins or block != "default" else PAPER_ORIGIN
        if origin not in origins or (position and origin == PAPER_ORIGIN):
            continue  # the recipe stands for the tuned cell only if it won the search itself
        found = _confirmed(study, origin)
        if found is not None and found.valid is not None:
            extra = [] if position == 0 else [f"the best of the search, {search['trial_id'].iloc[0]}, is not confirmed"]
            extra += ["the paper's recipe won the search"] if block == "default" else []
            return replace(found, missing=(*found.missing, *extra))
    return _search_value(study, study.search if search.empty else search)


def shortfall(study: CellStudy, trials: pd.DataFrame) -> list[str]:
    """Says so if the trials are shorter than the recipe's full length."""
    full = SIZES[study.cell.size].max_epochs if study.cell.size in SIZES else None
    length = trials["max_epochs"].max()
    return [f"trials of {length:.0f} epochs, the full length is {full}"] if full is not None and length < full else []


def _by_validation(search: pd.DataFrame) -> pd.DataFrame:
    usable = search[(search["status"] != "failed") & np.isfinite(search["best_valid_ppl"].astype(float))]
    return usable.sort_values(["best_valid_ppl", "trial_id"], kind="stable")


def _search_value(study: CellStudy, trials: pd.DataFrame) -> Estimate | None:
    usable = _by_validation(trials)
    if usable.empty:
        return None
    best = usable.iloc[0]
    missing = [NOT_CONFIRMED, *shortfall(study, usable.iloc[:1])]
    if best["status"] == "interrupted":
        missing.append(f"{best['trial_id']} stands at {best['num_epochs']:.0f} of {best['max_epochs']:.0f} epochs")
    elif best["status"] == "pruned":
        missing.append(f"{best['trial_id']} was pruned after {best['num_epochs']:.0f} epochs")
    return Estimate(
        origin=best["trial_id"],
        confirmed=False,
        valid=mean_perplexity([best["best_valid_ppl"]]),
        test=None,
        trial_ids=(best["trial_id"],),
        missing=tuple(missing),
    )


def _confirmed(study: CellStudy, origin: str) -> Estimate | None:
    """The estimate from the complete confirm trials of one origin; None without any."""
    own = study.confirm[study.confirm["origin"] == origin].sort_values("trial_id")
    done = own[own["status"] == "complete"]
    valid_ppl = done["single_stream_valid_ppl"].astype(float).fillna(done["best_valid_ppl"].astype(float))
    valid_ppl, test_ppl = (ppl[np.isfinite(ppl)] for ppl in (valid_ppl, done["test_ppl"].astype(float)))
    if valid_ppl.empty:
        return None
    planned = max(study.num_seeds or 0, len(own))
    missing = []
    if len(done) < planned:
        counts = own["status"].value_counts()
        named = (("failed", "failed"), ("interrupted", "unfinished"), ("pruned", "pruned"))
        rest = [f"{counts[status]} {word}" for status, word in named if status in counts]
        missing.append(f"{len(done)} of {planned} seeds" + (f" ({', '.join(rest)})" if rest else ""))
    if len(valid_ppl) == 1:
        missing.append("no interval from one seed")
    if len(test_ppl) < len(valid_ppl):
        missing.append(f"test read for {len(test_ppl)} of {len(valid_ppl)} seeds")
    return Estimate(
        origin=origin,
        confirmed=True,
        valid=mean_perplexity(list(valid_ppl)),
        test=mean_perplexity(list(test_ppl)),
        trial_ids=tuple(done.loc[valid_ppl.index, "trial_id"]),
        test_trial_ids=tuple(done.loc[test_ppl.index, "trial_id"]),
        missing=(*missing, *shortfall(study, done)),
    )
