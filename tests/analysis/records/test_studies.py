"""Choice of a setting's study: second sessions and precisions are kept apart, and the choice is cached."""

from __future__ import annotations

import gc
import weakref

from analysis.records.studies import SettingStudy, incomparable, second_session_of, study_of
from study.records.records import Setting
from tests.support.memory import Row, results, run, trial

REAL, AL = Setting("toy", "tiny", "real"), Setting("toy", "tiny", "al")


def trials(setting: Setting, study: str, number: int, **columns: object) -> list[Row]:
    return [trial(setting, f"random-{i:04d}", 90.0, study=study, **columns) for i in range(number)]


def name(found: SettingStudy | None) -> str | None:
    return found and found.study


def test_a_second_session_never_stands_for_a_setting() -> None:
    first = trials(REAL, "first", 2)
    second = trials(REAL, "second", 9, max_epochs=24, second_session_epoch=13)
    both, alone = results(first + second), results(second, [run(REAL, study="second")])
    found = study_of(both, REAL)
    assert found is not None
    assert (found.study, found.others) == ("first", ())
    assert name(second_session_of(both, REAL)) == "second"
    assert study_of(alone, REAL) is None
    assert name(second_session_of(alone, REAL)) == "second"
    assert second_session_of(results(first), REAL) is None


def test_the_second_session_with_the_most_stands() -> None:
    few = trials(REAL, "a", 1, max_epochs=24, second_session_epoch=13)
    many = trials(REAL, "b", 3, max_epochs=24, second_session_epoch=13)
    found = second_session_of(results(few + many), REAL)
    assert found is not None
    assert (found.study, found.others, len(found.trials)) == ("b", ("a",), 3)


def test_one_trial_of_a_second_session_marks_its_study() -> None:
    mixed = trials(REAL, "s", 1) + [trial(REAL, "confirm-paper-s101", 90.0, study="s", second_session_epoch=13)]
    assert study_of(results(mixed), REAL) is None


def test_the_precision_in_which_most_was_run_stands_for_all_variants() -> None:
    made = results(
        trials(REAL, "real-fp32", 5, precision="fp32") + trials(REAL, "real-tf32", 3, precision="tf32")
        + trials(AL, "al-tf32", 6, precision="tf32")
    )  # fmt: skip
    real, al = study_of(made, REAL), study_of(made, AL)
    assert (name(real), name(al)) == ("real-tf32", "al-tf32")  # 9 trials in tf32, 5 in fp32
    assert real is not None
    assert real.others == ("real-fp32",)
    assert al is not None
    assert incomparable(real, al) is None


def test_other_sizes_have_their_own_precision() -> None:
    small = Setting("toy", "small", "al")
    made = results(
        trials(REAL, "real-fp32", 5, precision="fp32") + trials(REAL, "real-tf32", 3, precision="tf32")
        + trials(small, "al-tf32", 9, precision="tf32")
    )  # fmt: skip
    assert name(study_of(made, REAL)) == "real-fp32"


def test_longer_trials_decide_the_precision_before_more_of_them() -> None:
    made = results(
        trials(REAL, "long", 1, precision="bf16", max_epochs=12)
        + trials(REAL, "short", 9, precision="fp32", max_epochs=3)
    )
    assert name(study_of(made, REAL)) == "long"


def test_a_variant_run_in_another_precision_alone_is_shown_and_not_compared() -> None:
    made = results(trials(REAL, "real", 5, precision="tf32") + trials(AL, "al", 2, precision="fp32"))
    real, al = study_of(made, REAL), study_of(made, AL)
    assert real is not None
    assert al is not None
    assert incomparable(real, al) == "VD-LSTM+REAL was run in tf32, VD-LSTM+AL in fp32"


def test_no_precision_is_fp32() -> None:
    made = results(trials(REAL, "real", 5, precision=None) + trials(AL, "al", 2, precision="fp32"))
    real, al = study_of(made, REAL), study_of(made, AL)
    assert real is not None
    assert al is not None
    assert incomparable(real, al) is None


def test_trials_of_different_length_are_not_compared() -> None:
    made = results(trials(REAL, "real", 1, max_epochs=3) + trials(AL, "al", 1))
    real, al = study_of(made, REAL), study_of(made, AL)
    assert real is not None
    assert al is not None
    assert incomparable(real, al) == "trials of VD-LSTM+REAL have 3 epochs, those of VD-LSTM+AL 12"


def test_a_study_with_a_trial_comes_before_one_with_a_plan() -> None:
    made = results(trials(REAL, "begun", 1, max_epochs=3), [run(REAL, study="planned", max_epochs=500)])
    found = study_of(made, REAL)
    assert found is not None
    assert (found.study, found.others) == ("begun", ("planned",))
    bare = study_of(results(runs=[run(REAL, study="planned")]), REAL)
    assert bare is not None
    assert (bare.precision, bare.max_epochs, bare.num_seeds) == (None, None, 6)
    assert incomparable(bare, found) == "VD-LSTM+REAL: no trial yet"


def test_a_study_is_worked_out_once_for_as_long_as_its_results_live() -> None:
    made = results(trials(REAL, "s", 1))
    assert study_of(made, REAL) is study_of(made, REAL)
    assert study_of(results(trials(REAL, "t", 1)), REAL) is not study_of(made, REAL)
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
