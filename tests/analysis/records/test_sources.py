"""The keys of trials: read off rows, grouped by study, joined in a CSV file alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.records.sources import TrialKey, by_study, keys_of, write_csv

KEYS = (TrialKey("s", "b"), TrialKey("t", "a"), TrialKey("s", "a"))


def test_keys_are_read_off_rows_each_once_and_in_their_order() -> None:
    rows = pd.DataFrame([*KEYS, KEYS[0]], columns=["study", "trial_id"])
    assert keys_of(rows) == KEYS
    assert keys_of(rows.iloc[:0]) == ()
    several = [("s", ("b",)), ("t", ("a",)), ("s", ("b", "a")), ("s", ()), (None, None)]
    assert keys_of(pd.DataFrame(several, columns=["study", "trial_ids"])) == KEYS
    assert by_study([*KEYS, KEYS[0]]) == {"s": ("b", "a"), "t": ("a",)}


def test_a_csv_joins_ids_and_leaves_all_else(tmp_path: Path) -> None:
    rows = [{"seed": 3, "ids": ("b", "a"), "rungs": (2, 4)}, {"seed": None, "ids": None, "rungs": ()}]
    write_csv(pd.DataFrame(rows, dtype=object), tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_text(encoding="utf-8").splitlines() == ["seed,ids,rungs", "3,b a,2 4", ",,"]
