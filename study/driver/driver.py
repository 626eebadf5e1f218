"""Runs studies on Ray Tune: opens them from their records, trains what is missing, and records the run.

A study that was killed at any moment is resumed from its records alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray import tune
from rich.console import Console

from study.driver.actors import make_trainable
from study.driver.lease import LeaseCheck, holding
from study.driver.packs import measure_pack
from study.driver.progress import Progress
from study.driver.ray_session import StudyError, fit, ray_session
from study.driver.run_log import RunLog, close_killed_runs
from study.records.journal import Journal
from study.records.provenance import command_line, provenance
from study.records.records import Records, StorageError
from study.search.ledger import Ledger
from study.search.searcher import StudyCallback, StudyScheduler, StudySearcher
from study.search.setting_search import SettingSearch
from study.spec.spec import StudySpec
from trainables.data.corpora import Corpus

_DEFAULT_CLUSTER_CONCURRENCY = 16  # with more, TPE knows too few results when it proposes


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run; none is part of a study's identity."""

    storage: str
    """An absolute folder or an ``s3://`` URI."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    pack: int | None = 1
    """Trials that train in one stack on each device; 1 for a process each, None for as many as pay, to be measured."""
    max_concurrent: int | None = None
    """Trials at a time; None: as many as the machine's or the cluster's resources hold."""
    time_budget_s: float | None = None
    address: str | None = None
    """Of a Ray cluster; None starts Ray on this machine, or joins the cluster that this machine belongs to."""


def run_studies(specs: Sequence[StudySpec], corpus: Corpus, options: RunOptions, console: Console) -> str:
    """Runs the studies to their end, or to the end of the time budget.

    Returns:
        ``finished``, ``time_budget`` or ``interrupted`` (Ctrl-C).

    Raises:
        StudyError: if another driver works on one of the studies, or its records are of another corpus.
        StorageError: if the storage cannot be read or written.
    """
    started = dt.datetime.now(dt.UTC)
    where = provenance()
    with contextlib.ExitStack() as stack:
        settings: list[SettingSearch] = []
        leases = stack.enter_context(holding([spec.name for spec in specs], options.storage, tell=console.print))
        for spec in specs:
            ledger = Ledger(spec, options.storage, git_commit=where["git_commit"])
            _check_corpus(ledger.records, corpus)
            journal = stack.enter_context(contextlib.closing(Journal(spec.name, options.storage)))
            settings.append(SettingSearch(ledger, journal.path))
            close_killed_runs(settings[-1])
        if all(setting.is_finished() for setting in settings):
            return "finished"
        stack.enter_context(ray_session(options.address))
        options = dataclasses.replace(options, pack=_pack(specs, options, console))
        max_concurrent = options.max_concurrent or _concurrency(options)
        searcher = StudySearcher(settings, max_concurrent=max_concurrent)
        runs = RunLog(settings, where | _budget(corpus, options, max_concurrent), started)
        try:
            outcome = _fit(searcher, corpus, options, [LeaseCheck(leases), runs], console)
        except (StudyError, StorageError):
            # Another driver has the study, or its storage is unavailable: queued writes must not be done later.
            for setting in settings:
                setting.ledger.records.queue.abandon()
            raise
        except BaseException:
            runs.write("failed", ended=True)
            raise
        if outcome == "unfinished":
            spent = options.time_budget_s is not None and runs.elapsed_s >= options.time_budget_s
            outcome = "time_budget" if spent else "interrupted"
        runs.write(outcome, ended=True)
        return outcome


def _fit(
    searcher: StudySearcher, corpus: Corpus, options: RunOptions, callbacks: Sequence[tune.Callback], console: Console
) -> str:
    """Trains what is missing. Returns ``finished``, ``interrupted`` or ``unfinished``."""
    trainable = make_trainable(
        [setting.spec for setting in searcher.settings],
        corpus,
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=options.gpus_per_trial,
        slots_per_device=options.pack or 1,
    )
    with Progress(searcher, console) as progress:
        interrupted = fit(
            trainable,
            max_pending=searcher.max_concurrent,
            search_alg=searcher,
            scheduler=StudyScheduler(searcher),
            num_samples=-1,  # no limit: the searcher ends the run
            time_budget_s=options.time_budget_s,
            callbacks=[*callbacks, StudyCallback(searcher), progress],
        )
    if all(setting.is_finished() for setting in searcher.settings):
        return "finished"
    return "interrupted" if interrupted else "unfinished"


def _budget(corpus: Corpus, options: RunOptions, max_concurrent: int) -> dict[str, Any]:
    return {
        "argv": command_line(),
        "corpus_sha256": corpus.sha256,
        "vocab_size": len(corpus.vocab),
        "num_train_tokens": len(corpus.train),
        "num_valid_tokens": len(corpus.valid),
        "num_test_tokens": len(corpus.test),
        "max_concurrent": max_concurrent,
        "time_budget_s": options.time_budget_s,
    }


def _check_corpus(records: Records, corpus: Corpus) -> None:
    for row in records.read("runs"):
        if row["corpus_sha256"] != corpus.sha256:
            raise StudyError(
                f"study {records.study} was run on another {corpus.name}: its content was {row['corpus_sha256'][:12]}, "
                f"now it is {corpus.sha256[:12]}; use another --storage"
            )


def _pack(specs: Sequence[StudySpec], options: RunOptions, console: Console) -> int | None:
    """Slots on each device; where only other machines of the cluster have GPUs, one of them is measured first.

    Raises:
        StudyError: if that GPU's memory does not hold them.
    """
    if options.pack == 1 or not options.gpus_per_trial or torch.cuda.is_available():  # known, or measured already
        return options.pack
    console.print("measuring a GPU of the cluster for --pack; it may have to come first")
    try:
        slots, summary = ray.get(ray.remote(num_gpus=1, num_cpus=1)(measure_pack).remote(list(specs), options.pack))
    except ValueError as error:
        raise StudyError(str(error)) from None
    console.print(summary)
    return slots


def _concurrency(options: RunOptions) -> int:
    """How many trials the machine or cluster holds at once.

    Raises:
        StudyError: if it cannot hold one.
    """
    resources = ray.cluster_resources()
    if options.pack is not None and options.pack > 1:
        return options.pack * max(1, int(resources.get("GPU", 0)))
    wanted = {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
    fits = [int(resources.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount > 0]
    if fits and min(fits) >= 1:
        return min(fits)
    if not ray._private.worker._global_node.is_head():  # a cluster that this process has joined
        return _DEFAULT_CLUSTER_CONCURRENCY  # it starts machines when trials wait for them
    raise StudyError(
        f"a trial needs {wanted['CPU']:g} CPU and {wanted['GPU']:g} GPU, and this machine has "
        f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU; "
        "lower --cpus-per-trial or --gpus-per-trial"
    )
