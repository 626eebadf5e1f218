"""``python -m study.benchmark``: times a study against bare training loops: the cost of Ray Tune, Optuna, records.

Both train the same configurations for the same epochs on the same number of processes of one thread each, with
evaluation and checkpoints. The start of Ray is excluded, that of the processes is not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ray
import torch
from rich.console import Console

from study.driver.driver import RunOptions, run_studies
from study.records.records import Setting
from study.search.ledger import Ledger
from study.spec.spec import StudySpec
from trainables.config import TrialConfig
from trainables.data.corpora import load_corpus
from trainables.recipes import CORPORA, SIZES, VARIANTS
from trainables.storage.checkpoint import CheckpointFolder
from trainables.trial.training import Training


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m study.benchmark``."""
    parser = argparse.ArgumentParser(prog="python -m study.benchmark", description=__doc__, allow_abbrev=False)
    parser.add_argument("--variant", default="real", choices=list(VARIANTS), help="default: %(default)s")
    parser.add_argument("--size", default="tiny", choices=list(SIZES), help="default: %(default)s")
    parser.add_argument("--corpus", default="toy", choices=list(CORPORA), help="default: %(default)s")
    parser.add_argument("--num-samples", type=int, default=8, metavar="N", help="trials (default: %(default)s)")
    parser.add_argument("--max-epochs", type=int, metavar="E", help="default: the size's")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="P", help="side by side (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    spec = StudySpec(
        setting=Setting(arguments.corpus, arguments.size, arguments.variant),
        num_samples=arguments.num_samples,
        max_epochs=arguments.max_epochs or SIZES[arguments.size].max_epochs,
        num_seeds=0,
    )
    corpus = load_corpus(arguments.corpus)
    console = Console(highlight=False)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        num_cpus=arguments.processes,
    )
    with tempfile.TemporaryDirectory() as storage:
        options = RunOptions(storage=storage, max_concurrent=arguments.processes)
        started = time.perf_counter()
        run_studies([spec], corpus, options, console)
        study_s = time.perf_counter() - started
        ray.shutdown()
        trials = [(t.config, t.num_epochs) for t in Ledger(spec, storage).trials.values()]
    bare_s = _bare(arguments.corpus, trials, arguments.processes)
    epochs = sum(number for _, number in trials)
    print(f"{len(trials)} trials, {epochs} epochs, {arguments.processes} processes: ", end="")
    print(f"study {study_s:.1f} s, bare loops {bare_s:.1f} s, ratio {study_s / bare_s:.2f}")
    return 0


def _bare(corpus: str, trials: Sequence[tuple[TrialConfig, int]], processes: int) -> float:
    context = multiprocessing.get_context("spawn")  # as Ray starts its workers: no state comes along
    with tempfile.TemporaryDirectory() as storage:
        started = time.perf_counter()
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            jobs = [pool.submit(_train, corpus, *trial, storage, str(i)) for i, trial in enumerate(trials)]
            for job in jobs:
                job.result()
        return time.perf_counter() - started


def _train(corpus_name: str, config: TrialConfig, num_epochs: int, storage: str, trial_id: str) -> None:
    torch.set_num_threads(1)
    corpus = load_corpus(corpus_name)
    training = Training(config, corpus.train)
    folder = CheckpointFolder(str(Path(storage)), "bare", trial_id)
    for _ in range(num_epochs):
        training.train_epoch()
        training.evaluate(corpus.valid, eos_id=corpus.eos_id)
        training.subspace_distance()
        folder.save("last", training.state_dict())


if __name__ == "__main__":
    sys.exit(main())
