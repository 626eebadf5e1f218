"""More rows in memory (``tests.support.memory``): confirm trials by their perplexities, epochs, a single study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.records.studies import SettingStudy, study_of
from study.records.records import Setting
from tests.support.memory import Row, name_of, results, trial

SETTING = Setting("toy", "tiny", "real")


def confirmed(
    setting: Setting, origin: str, ppls: Sequence[float], *, tests: Sequence[float] | None = None, **columns: object
) -> list[Row]:
    """Confirm trials of one origin, seeds from 101 on: their validation perplexities, and those of the test split."""
    return [
        trial(
            setting, f"confirm-{origin}-s{101 + i}", ppl, origin=origin, seed=101 + i, single_stream_valid_ppl=ppl,
            test_ppl=ppl if tests is None else tests[i], **columns,
        )
        for i, ppl in enumerate(ppls)
    ]  # fmt: skip


def epoch_rows(setting: Setting, trial_id: str, ppls: Sequence[float], *, study: str | None = None) -> list[Row]:
    """Epochs from 1 on with these validation perplexities."""
    keys = {**setting._asdict(), "study": study or name_of(setting), "trial_id": trial_id, "attempt": 1}
    return [{**keys, "epoch": epoch, "valid_ppl": ppl} for epoch, ppl in enumerate(ppls, start=1)]


def only_study(trials: Iterable[Row], setting: Setting = SETTING) -> SettingStudy:
    """The study that stands for a setting, given all its trials."""
    found = study_of(results(trials), setting)
    assert found is not None
    return found
