"""Health of the studies: budgets, versions, corpora."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.health.check import (
    PROBLEM,
    WARNING,
    Fault,
    by_place,
    by_study,
    fault,
    latest_runs,
    listed,
)
from analysis.records.load import Results
from analysis.records.studies import second_sessions, studies
from study.records.trials import SEARCH_BLOCKS
from trainables.recipes import SIZES

_PACKAGES = ("python", "torch", "ray", "optuna", "pyarrow")


def budgets(results: Results) -> Iterator[Fault]:
    """Unequal trials or epochs: a problem, the better tuned variant wins. Unequal seeds: a warning, pairs are lost.

    Among the studies that stand for the variants; those that trained the paper's recipe alone have no search.
    """
    latest = latest_runs(results)
    names = [study.study for study in studies(results) if study.study in latest.index]
    for place, runs in by_place(latest.loc[names].reset_index()):
        searched = runs[runs["num_samples"] > 1]
        for level, column, what, own in (
            (PROBLEM, "num_samples", "trials of the search", searched),
            (PROBLEM, "max_epochs", "epochs of a trial", runs),
            (WARNING, "num_seeds", "seeds", runs),
        ):
            if len(set(own[column].dropna())) > 1:
                counts = ", ".join(f"{v} {n:.0f}" for v, n in zip(own["variant"], own[column], strict=True))
                yield fault(level, f"unequal budgets, {what}: {counts}", own["study"], subject=place)


def unfinished(results: Results) -> Iterator[Fault]:
    """A warning: missing trials may change every number."""
    latest = latest_runs(results)
    for study, run in latest.iterrows():
        trials = results.trials[results.trials["study"] == study]
        search = trials[trials["block"].isin(SEARCH_BLOCKS)]
        ended = int((search["status"] != "interrupted").sum())
        missing = []
        if pd.notna(run["num_samples"]) and ended < run["num_samples"]:
            missing.append(f"{ended} of {run['num_samples']:.0f} trials of the search have ended")
        if (trials["status"] == "interrupted").any():
            missing.append(f"under way or interrupted: {(trials['status'] == 'interrupted').sum()}")
        if missing:
            yield fault(WARNING, ", ".join(missing), [study])


def code(results: Results) -> Iterator[Fault]:
    """A warning: the training's arithmetic may differ, or the code may not be in any commit.

    Trials of several commits are compared by the version of the arithmetic that they record (``recipes.NUMERICS``);
    for older records, which name none, another commit may have been another arithmetic.
    """
    runs = results.runs
    dirty = runs[runs["git_dirty"].fillna(False).astype(bool)]
    if len(dirty):
        yield fault(WARNING, "run from a tree with uncommitted changes", dirty["study"])
    for place, trials in by_place(results.trials):
        versions = sorted(trials["numerics"].dropna().unique())
        if len(versions) > 1:
            yield fault(
                WARNING, f"trials of several versions of the arithmetic: {listed(f'{v:.0f}' for v in versions)}",
                trials["study"], subject=place,
            )  # fmt: skip
        commits = sorted(trials["git_commit"].dropna().unique())
        if trials["numerics"].isna().any() and len(commits) > 1:
            yield fault(
                WARNING, f"trials of several commits: {listed(c[:7] for c in commits)}", trials["study"], subject=place
            )
        unknown = trials[trials["git_commit"].isna()]
        if len(unknown):
            yield fault(WARNING, f"trials of no known commit: {len(unknown)}", unknown["study"], subject=place)


def software(results: Results) -> Iterator[Fault]:
    """A warning: torch may change the numbers, Optuna the search."""
    for place, runs in by_place(results.runs):
        versions = {name: sorted(runs[name].dropna().unique()) for name in _PACKAGES}
        if mixed := [f"{name} {listed(found)}" for name, found in versions.items() if len(found) > 1]:
            yield fault(WARNING, f"several versions: {'; '.join(mixed)}", runs["study"], subject=place)


def corpora(results: Results) -> Iterator[Fault]:
    """A problem: perplexities of different texts are not comparable."""
    frames = (results.runs, results.subspace, results.predictions, results.word_mass)
    sums = pd.concat([f[["corpus", "study", "corpus_sha256"]] for f in frames if len(f)] or [results.runs])
    for corpus, own in sums.dropna(subset=["corpus_sha256"]).groupby("corpus", sort=True):
        checksums = sorted(own["corpus_sha256"].unique())
        if len(checksums) > 1:
            named = listed(checksum[:12] for checksum in checksums)
            yield fault(PROBLEM, f"records of {len(checksums)} different texts: {named}", own["study"], subject=corpus)


def precisions(results: Results) -> Iterator[Fault]:
    """Within a study a problem; between studies a warning, since the tables never compare them."""
    for study, trials in by_study(results.trials):
        names = sorted(trials["precision"].dropna().unique())
        if len(names) > 1:
            yield fault(PROBLEM, f"trials of several precisions: {listed(names)}", [study])
    for place, trials in by_place(results.trials):
        names = sorted(trials["precision"].dropna().unique())
        if len(names) > 1:
            yield fault(
                WARNING, f"studies in {listed(names)}; the tables compare those of one alone", trials["study"],
                subject=place,
            )  # fmt: skip


def lengths(results: Results) -> Iterator[Fault]:
    """A warning: such trials rank configurations, but their perplexities are not the paper's."""
    twice = second_sessions(results.trials)
    for study, trials in by_study(results.trials):
        size, length = str(trials["size"].iloc[0]), trials["max_epochs"].max()
        if size in SIZES:
            full = SIZES[size].max_epochs * (2 if study in twice else 1)
            if length < full:
                yield fault(WARNING, f"trials of {length:.0f} epochs, the full length is {full}", [study])
