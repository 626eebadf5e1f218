"""ASHA's rungs and the audit by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.figures.asha import (
    Audit,
    AuditInfo,
    ProtectedTrial,
    RungsInfo,
    RungsOfStudy,
    asha_audit,
    asha_rungs,
    draw_audit,
    draw_rungs,
)
from analysis.figures.asha import Path as TrialPath
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial
from trainables.recipes import SIZES

SETTING = Setting("ptb", "small", "real")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A search with a trial of every fate; ASHA compares at epochs 2 and 6 of 10."""
    storage = str(tmp_path)
    write_run(storage, SETTING, "s", grace_period=2, reduction_factor=3, max_epochs=10)
    full, max_epochs = [100.0 - 2 * i for i in range(10)], {"max_epochs": 10}
    write_trial(storage, SETTING, "s", "default-0000", [90.0] * 10, **max_epochs)
    write_trial(storage, SETTING, "s", "random-0001", [70.0] * 10, would_stop_epoch=6, **max_epochs)
    write_trial(storage, SETTING, "s", "random-0002", [math.nan], status="failed", **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0003", full, **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0004", [200.0, 150.0], status="pruned", would_stop_epoch=2, **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0005", [190.0, 140.0], status="pruned", would_stop_epoch=2, **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0006", [120.0] * 6, status="pruned", would_stop_epoch=6, **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0007", full, audit=True, would_stop_epoch=2, **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0008", [99.0, math.nan], status="failed", **max_epochs)
    write_trial(storage, SETTING, "s", "tpe-0009", [110.0], status="interrupted", **max_epochs)
    return tmp_path


def test_trials_stopped_at_each_rung(storage: Path) -> None:
    (found,) = asha_rungs(load_results([str(storage)])).studies
    full = tuple(100.0 - 2 * i for i in range(10))
    ten = tuple(range(1, 11))
    assert (
        found
        == RungsOfStudy(
            setting=SETTING,
            study="s",
            rungs=(2, 6),
            num_stopped=(2, 1),
            counts=(("complete", 2), ("pruned", 3), ("failed", 1), ("interrupted", 1)),
            share_saved=pytest.approx(1 - (10 + 2 + 2 + 6) / 40),  # the audit trial could not be stopped
            paths=tuple(
                TrialPath(trial_id=name, status=status, audit=audit, epochs=epochs, ppl=ppl)
                for name, status, audit, epochs, ppl in (
                    ("tpe-0003", "complete", False, ten, full),
                    ("tpe-0004", "pruned", False, (1, 2), (200.0, 150.0)),
                    ("tpe-0005", "pruned", False, (1, 2), (190.0, 140.0)),
                    ("tpe-0006", "pruned", False, ten[:6], (120.0,) * 6),
                    ("tpe-0007", "complete", True, ten, full),
                    ("tpe-0008", "failed", False, (1,), (99.0,)),
                    ("tpe-0009", "interrupted", False, (1,), (110.0,)),
                )
            ),
        )
    )


def test_the_rungs_are_written_beside_their_numbers(storage: Path) -> None:
    (ax,) = draw_rungs(asha_rungs(load_results([str(storage)]))).axes
    texts = [text.get_text() for text in ax.texts]
    assert {"-2", "-1"} <= set(texts)
    assert "2 complete, 3 stopped, 1 failed, 1 unfinished\n50% of epochs saved" in texts


def test_without_a_run_there_are_trials_but_no_rungs(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [90.0, 80.0])
    (found,) = asha_rungs(load_results([str(tmp_path)])).studies
    saved = pytest.approx(1 - 2 / SIZES[SETTING.size].max_epochs)
    assert (found.rungs, found.num_stopped, found.share_saved) == ((), (), saved)
    assert asha_rungs(load_results([str(tmp_path / "empty")])) == RungsInfo(studies=())


def test_the_audit_takes_all_that_asha_might_not_stop(storage: Path) -> None:
    (found,) = asha_audit(load_results([str(storage)])).studies
    assert found == Audit(
        setting=SETTING,
        study="s",
        trials=(
            ProtectedTrial(trial_id="default-0000", arm="default", ppl=90.0, would_stop_epoch=None),
            ProtectedTrial(trial_id="random-0001", arm="random", ppl=70.0, would_stop_epoch=6),
            ProtectedTrial(trial_id="tpe-0007", arm="audit", ppl=82.0, would_stop_epoch=2),
        ),
        num_failed=1,
        num_unfinished=0,
    )
    assert (found.best(stopped=True), found.best(stopped=False)) == (70.0, 90.0)


def test_the_audit_says_what_would_have_been_lost(storage: Path) -> None:
    (ax,) = draw_audit(asha_audit(load_results([str(storage)]))).axes
    texts = [text.get_text() for text in ax.texts]
    assert "+REAL\n-20.0 ppl" in texts
    assert "3 trials, 1 of the audit arm; 1 failed" in texts


def test_no_audit_without_two_complete_trials(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [90.0])
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [90.0])
    write_trial(str(tmp_path), SETTING, "s", "random-0002", [90.0], status="interrupted")
    assert asha_audit(load_results([str(tmp_path)])) == AuditInfo(studies=())
