"""More rows in memory (``tests.support.memory``): confirm trials by their perplexities, epochs, a single study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.records.studies import CellStudy, study_of
from study.records.records import Cell
from tests.support.memory import Row, name_of, results, trial

CELL = Cell("toy", "tiny", "real")


def confirmed(
    cell: Cell, origin: str, ppls: Sequence[float], *, tests: Sequence[float] | None = None, **columns: object
) -> list[Row]:
    """Confirm trials of one origin, seeds from 101 on: their validation perplexities, and those of the test split."""
    return [
        trial(
            cell, f"confirm-{origin}-s{101 + i}", ppl, origin=origin, seed=101 + i, single_stream_valid_ppl=ppl,
            test_ppl=ppl if tests is None else tests[i], **columns,
        )
        for i, ppl in enumerate(ppls)
    ]  # fmt: skip


def epoch_rows(cell: Cell, trial_id: str, ppls: Sequence[float], *, study: str | None = None) -> list[Row]:
    """Epochs from 1 on with these validation perplexities."""
    keys = {**cell._asdict(), "study": study or name_of(cell), "trial_id": trial_id, "attempt": 1}
    return [{**keys, "epoch": epoch, "valid_ppl": ppl} for epoch, ppl in enumerate(ppls, start=1)]


def only_study(trials: Iterable[Row], cell: Cell = CELL) -> CellStudy:
    """The study that stands for a cell, given all its trials."""
    found = study_of(results(trials), cell)
    assert found is not None
    return found
