"""From a plan to a finished study: loads the corpus, runs the driver, says where the results are and what is next."""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence

import ray
from rich.console import Console
from rich.table import Table

from study.driver import RunOptions, StudyError, run_studies
from study.ledger import SEARCH_BLOCKS, Ledger
from study.records import default_storage
from study.spec import StudySpec
from trainables.corpora import CorpusError, load_corpus

_INTERRUPTED = 130  # as shells report Ctrl-C


def launch(
    specs: Sequence[StudySpec],
    arguments: argparse.Namespace,
    *,
    storage: str,
    gpus_per_trial: float,
    pack: int,
    console: Console,
) -> int:
    """Runs the studies and reports. Returns the exit status: 0 finished or out of time, 1 refused, 130 interrupted."""
    options = RunOptions(
        storage=storage,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        pack=pack,
        max_concurrent=arguments.max_concurrent,
        time_budget_s=arguments.time_budget,
        address=arguments.address,
    )
    try:
        outcome = _run(specs, options, console)
    except (CorpusError, StudyError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        outcome = "interrupted"
    _print_summary(specs, storage, console)
    again = shlex.join(["python", "-m", "study.run", *sys.argv[1:]])
    where = "" if arguments.storage == default_storage() else f" --results {shlex.quote(arguments.storage)}"
    if outcome == "finished":
        console.print(f"\nrecords: {storage}\nnext:    python -m analysis.report{where}", markup=False, soft_wrap=True)
        return 0
    reason = "the time budget is used up" if outcome == "time_budget" else "interrupted"
    console.print(
        f"\n{reason}; nothing is lost: every finished epoch is on record, and the same command goes on\n"
        f"records: {storage}\nnext:    {again}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    return 0 if outcome == "time_budget" else _INTERRUPTED


def _run(specs: Sequence[StudySpec], options: RunOptions, console: Console) -> str:
    name = specs[0].cell.corpus
    if not (options.address or "").startswith("ray://"):
        return run_studies(specs, load_corpus(name), options, console)
    # A driver at the far end of a client connection dies with it, and cannot share objects with Tune's loop: the
    # whole driver runs in the cluster instead, and this process only waits for it.
    try:
        ray.init(address=options.address, log_to_driver=True)
    except ConnectionError as error:
        raise StudyError(
            f"no Ray cluster answers at {options.address!r}: {error}. A cluster that asks for a token, as Ray's do by "
            "default, does not answer without it either: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from None
    try:
        return ray.get(_run_there.remote(list(specs), options))
    finally:
        ray.shutdown()


@ray.remote(num_cpus=0)
def _run_there(specs: list[StudySpec], options: RunOptions) -> str:
    """The driver, on a machine of the cluster."""
    return run_studies(
        specs, load_corpus(specs[0].cell.corpus), options, Console(highlight=False, force_terminal=False)
    )


def _print_summary(specs: Sequence[StudySpec], storage: str, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("perplexities", no_wrap=True)
    # valid: the best of the search; test: the paper's recipe; tuned: the best configuration
    for name in ("done", "pruned", "failed", "to do", "valid", "test", "tuned", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for spec in specs:
        ledger = Ledger(spec, storage)
        trials = ledger.trials.values()
        count = {s: sum(t.status == s for t in trials) for s in ("complete", "pruned", "failed", "interrupted")}
        best = ledger.best_of_search()
        tuned = "paper" if best is None or best.block == "default" else best.trial_id
        search = [t.best_valid_ppl for t in ledger.in_block(*SEARCH_BLOCKS) if t.best_valid_ppl is not None]
        table.add_row(
            spec.name,
            *(str(count[s]) for s in ("complete", "pruned", "failed", "interrupted")),
            f"{min(search):.1f}" if search else "-",
            *(_mean(_test_ppl(ledger, origin)) for origin in ("paper", tuned)),
            "+".join(str(len(_test_ppl(ledger, origin))) for origin in dict.fromkeys(("paper", tuned))),
        )
    console.print(table)


def _test_ppl(ledger: Ledger, origin: str) -> list[float]:
    return [t.test_ppl for t in ledger.in_block("confirm") if t.origin == origin and t.test_ppl is not None]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}" if values else "-"
