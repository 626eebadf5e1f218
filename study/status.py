"""``python -m study.status``: the state of each study of a storage, read from its records, without Ray."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.records.records import BLOCKS, StorageError, default_storage, is_remote, read_table
from study.records.trials import SEARCH_BLOCKS, num_select_trials

HEARTBEAT_LIMIT_S = 120.0
"""A running study whose heartbeat is older counts as interrupted."""
FIRST_STUDY = "python -m study.run --variant all --size tiny --corpus toy"


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """The state of one study."""

    corpus: str
    size: str
    variant: str
    study: str
    state: str
    """``running``, ``finished``, ``interrupted``, ``time budget`` or ``failed``."""
    search_done: int
    search_planned: int | None
    """Trials of the search that have ended, and that its latest run planned; None if no run is on record."""
    select_done: int
    select_planned: int | None
    confirm_done: int
    confirm_planned: int | None
    trials: dict[str, dict[str, int]]
    """Block -> status -> trials. An interrupted trial of a study that is running counts as ``running``."""
    num_epochs: int
    best_valid_ppl: float | None
    """Best of the search so far, failed trials left out."""
    best_trial_id: str | None
    device_hours: float
    heartbeat_at: dt.datetime | None

    def count(self, status: str) -> int:
        """Trials of a status, over all blocks."""
        return sum(counts.get(status, 0) for counts in self.trials.values())


def study_statuses(storage: str, *, now: dt.datetime) -> list[StudyStatus]:
    """The studies of a storage, sorted by corpus, size, variant and name.

    Raises:
        study.records.records.StorageError: if the storage cannot be read.
    """
    runs, trials, epochs = (
        read_table(storage, table).combine_chunks().to_pandas() for table in ("runs", "trials", "epochs")
    )
    trials = trials.sort_values("attempt", kind="stable").drop_duplicates(["study", "trial_id"], keep="last")
    epochs = epochs.sort_values("attempt", kind="stable").drop_duplicates(["study", "trial_id", "epoch"], keep="last")
    keys = ["corpus", "size", "variant", "study"]
    found = pd.concat([runs[keys], trials[keys]]).drop_duplicates().sort_values(keys)
    return [
        _status(dict(zip(keys, row, strict=True)), *(t[t["study"] == row[-1]] for t in (runs, trials, epochs)), now=now)
        for row in found.itertuples(index=False, name=None)
    ]


def _status(
    names: dict[str, str], runs: pd.DataFrame, trials: pd.DataFrame, epochs: pd.DataFrame, *, now: dt.datetime
) -> StudyStatus:
    latest = None if runs.empty else runs.sort_values(["started_at", "run"], kind="stable").iloc[-1]
    beat = None if latest is None or pd.isna(latest["heartbeat_at"]) else latest["heartbeat_at"].to_pydatetime()
    state = _state(latest, beat, now)
    search = trials[trials["block"].isin(SEARCH_BLOCKS)]
    select, confirm = (trials[trials["block"] == block] for block in ("select", "confirm"))
    usable = epochs["trial_id"].isin(search.loc[search["status"] != "failed", "trial_id"])
    ppl = epochs[usable & np.isfinite(epochs["valid_ppl"].astype(float))]
    ppl = ppl.sort_values(["valid_ppl", "trial_id"], kind="stable")
    # The row of an interrupted trial is from its start: its seconds are summed over its epochs.
    open_trials = trials.loc[trials["status"] == "interrupted", "trial_id"]
    device_s = trials.loc[trials["status"] != "interrupted", "device_s"].sum()
    device_s += epochs.loc[epochs["trial_id"].isin(open_trials), "epoch_s"].sum()
    counts = trials.assign(
        status=trials["status"].replace("interrupted", "running" if state == "running" else "interrupted")
    )
    blocks = {block: rows["status"].value_counts().to_dict() for block, rows in counts.groupby("block")}
    return StudyStatus(
        **names,
        state=state,
        search_done=int((search["status"] != "interrupted").sum()),
        search_planned=None if latest is None else int(latest["num_samples"]),
        select_done=int((select["status"] != "interrupted").sum()),
        select_planned=None if latest is None else _select_planned(latest, state, select),
        confirm_done=int((confirm["status"] != "interrupted").sum()),
        confirm_planned=None if latest is None else _confirm_planned(latest, state, confirm),
        trials={block: blocks[block] for block in BLOCKS if block in blocks},
        num_epochs=len(epochs),
        best_valid_ppl=None if ppl.empty else float(ppl["valid_ppl"].iloc[0]),
        best_trial_id=None if ppl.empty else str(ppl["trial_id"].iloc[0]),
        device_hours=float(device_s) / 3600.0,
        heartbeat_at=beat,
    )


def _state(run: Any, beat: dt.datetime | None, now: dt.datetime) -> str:
    if run is None:
        return "interrupted"
    if run["outcome"] != "running":
        return str(run["outcome"]).replace("_", " ")
    alive = beat is not None and (now - beat).total_seconds() < HEARTBEAT_LIMIT_S
    return "running" if alive else "interrupted"


def _select_planned(run: Any, state: str, select: pd.DataFrame) -> int:
    """The search's best configurations and the paper's recipe, each on the block's seeds; fewer in a study that has
    finished with fewer."""
    if state == "finished":
        return len(select)
    return max(num_select_trials(int(run["num_samples"])), len(select))


def _confirm_planned(run: Any, state: str, confirm: pd.DataFrame) -> int:
    """The paper's recipe and the winner, each on every seed; in a finished study the recipe alone, if it has won."""
    once = run["num_samples"] <= 1 or state == "finished"
    return max(int(run["num_seeds"]) * (1 if once else 2), len(confirm))


_COLUMNS = (
    "", "state", "search", "select", "confirm", "open", "pruned", "failed", "epochs", "best ppl", "hours", "seen",
)  # fmt: skip
_LEFT = {"", "state"}


def print_statuses(statuses: Sequence[StudyStatus], console: Console, *, now: dt.datetime) -> None:
    """A line per study under a heading per corpus and size. Trials: ended of planned; hours are device-hours."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _LEFT else "right")
    for (corpus, size), group in groupby(statuses, key=lambda status: (status.corpus, status.size)):
        table.add_row(Text(f"{corpus} {size}", style="cyan"))
        for status in group:
            style = {"running": "green", "finished": ""}.get(status.state, "yellow")
            table.add_row(*map(Text, _fields(status, statuses, now)), style=style)
    console.print(table, width=max(console.width, 100), crop=False)  # do not cut numbers


def _fields(status: StudyStatus, statuses: Sequence[StudyStatus], now: dt.datetime) -> tuple[str, ...]:
    setting = (status.corpus, status.size, status.variant)
    alone = sum((s.corpus, s.size, s.variant) == setting for s in statuses) == 1
    return (
        status.variant if alone else status.study.replace(f"-{status.size}-{status.corpus}-", " "),
        status.state,
        _of(status.search_done, status.search_planned),
        _of(status.select_done, status.select_planned),
        _of(status.confirm_done, status.confirm_planned),
        str(status.count("running") + status.count("interrupted")),
        *(str(status.count(name)) for name in ("pruned", "failed")),
        str(status.num_epochs),
        "-" if status.best_valid_ppl is None else f"{status.best_valid_ppl:.2f}",
        f"{status.device_hours:.1f}",
        "-" if status.heartbeat_at is None else _ago((now - status.heartbeat_at).total_seconds()),
    )


def _of(done: int, planned: int | None) -> str:
    return f"{done}/{'?' if planned is None else planned}"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m study.status", description=__doc__, allow_abbrev=False)
    found.add_argument("--storage", metavar="DIR|s3://...", help="storage to read (default: $STUDY_STORAGE or results)")
    found.add_argument("--json", action="store_true", help="print a JSON list, an object per study")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    args = build_parser().parse_args(argv)
    if args.storage and not is_remote(args.storage) and not Path(args.storage).expanduser().is_dir():
        build_parser().error(f"--storage must be a folder or an s3:// URI, got {args.storage!r}, which is no folder")
    storage, now = args.storage or default_storage(), dt.datetime.now(dt.UTC)
    try:
        statuses = study_statuses(storage, now=now)
    except (StorageError, OSError, pa.ArrowException) as error:
        print(f"study.status: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([dataclasses.asdict(status) for status in statuses], default=dt.datetime.isoformat, indent=2))
    elif statuses:
        print_statuses(statuses, Console(width=None if sys.stdout.isatty() else 100), now=now)
    else:
        print(f"No study on record under {storage}. A first one of a minute or two: {FIRST_STUDY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
