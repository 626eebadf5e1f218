"""A live table of the running studies; without a terminal, a line a minute for each."""

from __future__ import annotations

import math
import time
from typing import Any

from ray import tune
from rich.console import Console
from rich.live import Live
from rich.table import Table

from study.search.searcher import NotRestored, StudySearcher
from study.search.setting_search import SettingSearch

_LINE_EVERY_S = 60.0


class Progress(NotRestored, tune.Callback):
    """Shows the state of all settings while Tune runs. A context manager around ``fit``."""

    def __init__(self, searcher: StudySearcher, console: Console) -> None:
        self._searcher, self._console = searcher, console
        self._started = self._last_line = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._last_draw = 0.0
        self._epochs_before = {id(setting): setting.ledger.num_epochs for setting in searcher.settings}
        self._expected_epochs = {
            id(setting): sum(setting.spec.expected_epochs.values()) for setting in searcher.settings
        }

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraws at most twice a second."""
        now = time.monotonic()
        if self._live and now - self._last_draw >= 0.5:
            self._last_draw = now
            self._live.update(self._table(), refresh=True)
        elif not self._live and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            for setting in self._searcher.settings:
                if setting.num_running:
                    self._console.print("  ".join(f"{k} {v}" for k, v in self._state(setting).items()), soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        for setting in self._searcher.settings:
            state = self._state(setting)
            if not table.columns:
                for name in state:
                    table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
            table.add_row(*state.values())
        return table

    def _state(self, setting: SettingSearch) -> dict[str, str]:
        ledger = setting.ledger
        rates = [trial.rows[-1]["tokens_per_s"] for trial in ledger.running.values() if trial.rows]
        # Fewer than planned are trained if the paper's recipe wins, or few search trials were trained in full.
        planned = ledger.num_ended if setting.is_finished() else sum(setting.spec.num_trials.values())
        return {
            "variant": setting.spec.setting.variant,  # size and corpus are those of the plan above
            "ended": f"{ledger.num_ended}/{planned}",
            "running": str(setting.num_running),
            "pruned": str(ledger.num_of_status("pruned")),
            "failed": str(ledger.num_of_status("failed")),
            "epochs": str(ledger.num_epochs),
            "best valid": "-" if math.isinf(ledger.best_valid_ppl) else f"{ledger.best_valid_ppl:.2f}",
            "tokens/s": f"{sum(rates):,.0f}" if rates else "-",
            "left": self._time_left(setting),
        }

    def _time_left(self, setting: SettingSearch) -> str:
        """Extrapolates this run's seconds per epoch to the expected epochs left."""
        if setting.is_finished():
            return "0"
        done = setting.ledger.num_epochs
        fresh = done - self._epochs_before[id(setting)]
        if not fresh:
            return "-"
        left = max(1.0, self._expected_epochs[id(setting)] - done)
        return duration((time.monotonic() - self._started) / fresh * left)


def duration(seconds: float) -> str:
    """Seconds as a short text: 40 s, 12 min, 3.5 h, 12 days."""
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (72 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 and unit > 60 else f"{value:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
