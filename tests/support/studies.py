"""Stand-ins for a study's trials that take no time to train."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from pathlib import Path

from study.records.records import Setting
from study.search.ledger import Ledger, TrialRecord
from study.search.setting_search import SettingSearch
from study.spec.spec import StudySpec
from trainables.storage.storage import StorageError
from trainables.trial.trial_run import single_stream_rows

SETTING = Setting("toy", "tiny", "real")
EVALUATED = {"evaluations": single_stream_rows({"valid": 41.0, "test": 40.0})}
"""Reported with the last epoch of a confirm trial."""


def make_spec(**changes) -> StudySpec:
    return StudySpec(**({"setting": SETTING, "num_samples": 9, "max_epochs": 6, "num_seeds": 2} | changes))


_earlier: deque[SettingSearch] = deque(maxlen=8)  # strong references: their writers outlive them


def open_setting(storage: Path, **changes) -> SettingSearch:
    """Opens a study as a driver does, after the queued writes of earlier drivers."""
    for setting in list(_earlier):
        with contextlib.suppress(StorageError):  # the test has broken the storage
            setting.ledger.records.flush()
    spec = make_spec(**changes)
    setting = SettingSearch(Ledger(spec, str(storage)), storage / "optuna" / f"{spec.name}.journal")
    _earlier.append(setting)
    return setting


def perplexity(trial: TrialRecord, epoch: int) -> float:
    """A learning curve that depends on the trial's parameters alone, with its best before its last epoch."""
    distance = abs(math.log(trial.config.lr / 2)) + abs(trial.config.drop_prob - 0.4)
    return 50.0 * (1.0 + distance) / min(epoch, 5) + max(0, epoch - 5)


def result(trial: TrialRecord, epoch: int, **more) -> dict:
    """What the trainable would report."""
    evaluated = EVALUATED if trial.block == "confirm" and epoch >= trial.config.max_epochs else {}
    return {
        "epoch": epoch,
        "valid_ppl": perplexity(trial, epoch),
        "best_valid_ppl": min(perplexity(trial, e) for e in range(1, epoch + 1)),
        "train_loss": 1.0,
        "epoch_s": 0.5,
        "tokens_per_s": 10.0,
        "num_params": 3,
        **evaluated,
    } | more


def run_epoch(setting: SettingSearch, trial: TrialRecord, epoch: int) -> bool:
    """One epoch through scheduler and callback, as Tune calls them; True if the trial has ended."""
    last = epoch >= setting.spec.max_epochs
    report = result(trial, epoch)
    stop = not last and setting.decide(trial, epoch, report["valid_ppl"])
    setting.record(trial, report)
    if last or stop:
        setting.end(trial)
    return last or stop


def run_all(setting: SettingSearch, *, concurrent: int = 1, stop_after: int | None = None) -> int:
    """Runs a study, ``concurrent`` trials an epoch each in turn; stops dead after ``stop_after`` epochs."""
    live: list[TrialRecord] = []
    epochs = 0
    while True:
        while len(live) < concurrent and (trial := setting.next_trial()):
            live.append(trial)
        if not live:
            return epochs
        for trial in list(live):
            if run_epoch(setting, trial, trial.num_epochs + 1):
                live.remove(trial)
            epochs += 1
            if epochs == stop_after:
                return epochs
