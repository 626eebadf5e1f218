"""The command line of each target, its plan, and what is run and rendered, without training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from study import reproduce
from study.cli import launch, plan
from study.cli.options import RESOURCES
from study.cli.paper_targets import TARGETS
from study.figure1 import grid as subspace_grid
from study.records.records import Setting
from study.reproduce import build_parser, main
from trainables.pack.probe import Probe
from trainables.recipes import CORPORA, SIZES, VARIANTS

COMMON = {"--max-epochs", "--seeds", "--storage", *RESOURCES, "--dry-run"}
NARROW = {"--size", "--corpus"}
FROZEN = {
    "table1": COMMON | NARROW | {"--num-samples"},
    "table2": COMMON | NARROW | {"--num-samples"},
    "table3": COMMON | {"--size", "--num-samples"},
    "table4": COMMON | NARROW | {"--phrase"},
    "figure1": COMMON - {"--pack", "--precision"},
    "figure2": COMMON | NARROW,
    "footnote4": COMMON | NARROW,
}
SMALL, LARGE, EVERY = "small", "large", tuple(VARIANTS)
SETTINGS = {
    "table1": [(c, s, v) for s in (SMALL, "medium", LARGE) for c in ("ptb", "wikitext2") for v in EVERY],
    "table2": [(c, SMALL, v) for c in ("wikitext2-a", "wikitext2-b") for v in EVERY],
    "table3": [("ptb", LARGE, "real")],
    "table4": [("ptb", LARGE, v) for v in ("baseline", "real")],
    "figure2": [("ptb", s, v) for s in (SMALL, LARGE) for v in EVERY],
    "footnote4": [("ptb", SMALL, v) for v in EVERY],
}
RENDERED = {"table4": "table4,word_mass"}


@pytest.fixture(autouse=True)
def _instant_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "probe_step_seconds", lambda *_, **__: Probe(0.5, 1e-4, 1e-2, 10**9))
    monkeypatch.setattr(subspace_grid, "measure_epoch_s", lambda *_, **__: 2.0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple]]:
    """The runs and reports that a command starts, noted instead of done."""
    done: list[tuple] = []

    def run_studies(specs, corpus, options, console):
        done.append(("studies", tuple(spec.setting for spec in specs), corpus, specs, options))
        return "finished"

    def run_grid(grid, options, console):
        done.append(("grid", grid, options))
        return "finished"

    def report(command, *, check):
        done.append(("report", command))
        return subprocess.CompletedProcess(command, 0)

    def predict(specs, storage, asked, corpus, *, device, console):
        done.append(("predict", [str(q) for q in asked], corpus))
        return 2

    monkeypatch.setattr(launch, "run_studies", run_studies)
    monkeypatch.setattr(launch, "run_grid", run_grid)
    monkeypatch.setattr(launch, "load_corpus", lambda name: name)
    monkeypatch.setattr(reproduce, "load_corpus", lambda name: name)
    monkeypatch.setattr(reproduce, "questions", lambda phrases, corpus: phrases)
    monkeypatch.setattr(reproduce, "predict", predict)
    monkeypatch.setattr(subprocess, "run", report)
    return done


def parser_of(target: str):
    (parsers,) = (action for action in build_parser()._actions if action.dest == "target")
    return parsers.choices[target]


def test_the_targets_are_the_papers_tables_and_figures():
    (parsers,) = (action for action in build_parser()._actions if action.dest == "target")
    assert set(parsers.choices) == set(FROZEN)


@pytest.mark.parametrize("target", FROZEN)
def test_the_command_line_is_frozen(target):
    """Users' scripts rely on these flags: change this list knowingly."""
    actions = parser_of(target)._actions
    found = {flag for action in actions if action.help != "==SUPPRESS==" for flag in action.option_strings}
    assert found == FROZEN[target] | {"-h", "--help"}


UNUSED = [(target, flag) for target in FROZEN for flag in sorted(set().union(*FROZEN.values()) - FROZEN[target])]


@pytest.mark.parametrize(("target", "flag"), UNUSED)
def test_a_flag_that_a_target_would_ignore_is_an_error_that_says_so(target, flag, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([target, flag, "1"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert f"{target} does not use {flag}: its flags are " in error
    listed = error.partition("its flags are ")[2].strip().split(", ")
    assert set(listed) == FROZEN[target]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the following arguments are required: TARGET"),
        (["table5"], "choose from"),
        (["table1", "--verbose"], "unrecognized arguments: --verbose"),
        (["table1", "--see", "3"], "unrecognized arguments"),
        (["table1", "--size", "huge"], "choose from"),
        (["table1", "--corpus", "wikitext2-a"], "choose from 'ptb', 'wikitext2', 'toy'"),
        (["table2", "--corpus", "ptb"], "choose from 'wikitext2-a', 'wikitext2-b'"),
        (["table2", "--size", "large"], "choose from 'tiny', 'small'"),
        (["figure2", "--corpus", "wikitext2"], "choose from 'ptb', 'toy'"),
        (["footnote4", "--size", "large"], "choose from 'tiny', 'small'"),
        (["table4", "--seeds", "0"], "must be a whole number of at least 1, got '0'"),
        (["footnote4", "--seeds", "0"], "must be a whole number of at least 1, got '0'"),
        (["figure1", "--seeds", "0"], "must be a whole number of at least 1, got '0'"),
        (["figure1", "--max-epochs", "x"], "must be a whole number of at least 1, got 'x'"),
    ],
)
def test_a_bad_command_is_refused_with_its_rule(flags, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*flags, "--dry-run"])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("target", TARGETS)
def test_a_targets_names_are_those_of_the_registries(target):
    one = TARGETS[target]
    assert set(one.all_sizes) <= set(SIZES)
    assert set(one.all_corpora) <= set(CORPORA)
    assert set(one.variants) <= set(VARIANTS)
    assert one.name == target


@pytest.mark.parametrize("target", SETTINGS)
def test_a_dry_run_plans_the_settings_of_the_target_with_equal_budgets(target, calls, capsys, tmp_path):
    assert main([target, "--storage", str(tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    settings = SETTINGS[target]
    for corpus, size, variant in settings:
        title = f"{VARIANTS[variant].label}, {size} ({SIZES[size].hidden_size} units), {CORPORA[corpus].title}:"
        assert sum(line.startswith(title) for line in out.splitlines()) == 1, title
    rows: dict[str, set[str]] = {}
    lines = iter(out.splitlines())
    for line in lines:  # a study's title, and the row "all" below it
        if " parameters, study " in line:
            where = line.partition(", ")[2].partition(":")[0]
            budget = next(row for row in lines if row.startswith("all "))
            rows.setdefault(where, set()).add(budget.rsplit(maxsplit=1)[0])
    assert sum(line.startswith("all ") for line in out.splitlines()) == len(settings)
    assert all(len(budgets) == 1 for budgets in rows.values()), rows
    assert f"python -m analysis.report --results {tmp_path} --only {RENDERED.get(target, target)}" in out
    assert not calls
    assert not list(tmp_path.iterdir())
    if len(rows) > 1:
        assert f"{len(settings)} studies, {len(rows)} sizes and corpora one after another: about " in out


def test_a_dry_run_of_figure_1(calls, capsys, tmp_path):
    flags = ["--seeds", "2", "--max-epochs", "5", "--storage", str(tmp_path), "--dry-run"]
    assert main(["figure1", *flags]) == 0
    out = capsys.readouterr().out
    assert "11 points x 2 seeds = 22 runs of at most 5 epochs" in out
    assert not calls
    assert not list(tmp_path.iterdir())


def test_the_total_is_that_of_its_parts(capsys, tmp_path):
    flags = ["--max-epochs", "6", "--num-samples", "1", "--seeds", "1", "--max-concurrent", "4"]
    assert main(["table1", "--size", "small", *flags, "--storage", str(tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    # An epoch of PTB is 670.9 s and the last evaluation 1,561.9 s: 4 x (12 epochs and one of these), 4 at a time.
    # WikiText-2: 2,983 windows and 217,646 tokens are 1,513.3 s, 463,215 tokens 4,632.2 s.
    assert "4 trials at a time: about 2.7 h" in out  # 9,612 s
    assert "4 trials at a time: about 6.3 h" in out  # 22,791 s
    assert "8 studies, 2 sizes and corpora one after another: about 9.0 h" in out


@pytest.mark.parametrize("target", SETTINGS)
def test_all_settings_run_one_after_another_and_the_report_is_called_at_the_end(target, calls, tmp_path):
    assert main([target, "--storage", str(tmp_path)]) == 0
    studies = [call for call in calls if call[0] == "studies"]
    assert [tuple(setting) for call in studies for setting in call[1]] == SETTINGS[target]
    assert all(len({setting[:2] for setting in call[1]}) == 1 for call in studies)  # of one corpus and size
    assert all(call[2] == call[1][0].corpus for call in studies)
    flags = ["--results", str(tmp_path), "--only", RENDERED.get(target, target)]
    assert calls[-1] == ("report", [sys.executable, "-m", "analysis.report", *flags])
    assert sum(call[0] == "report" for call in calls) == 1
    for _, _, _, specs, _ in studies:
        one = SIZES[specs[0].setting.size]
        searched = target in ("table1", "table2", "table3")
        sessions = 2 if target == "footnote4" else 1
        assert {(s.num_samples, s.num_seeds, s.num_sessions, s.max_epochs, s.search_seed) for s in specs} == {
            (one.num_samples if searched else 0, 6, sessions, sessions * one.max_epochs, 0)
        }


def test_the_budget_is_that_of_the_command_line(calls, tmp_path):
    flags = ["--size", "tiny", "--corpus", "toy", "--num-samples", "3", "--max-epochs", "4", "--seeds", "2"]
    resources = ["--max-concurrent", "1", "--cpus-per-trial", "2", "--time-budget", "1h"]
    assert main(["table1", *flags, *resources, "--storage", str(tmp_path)]) == 0
    specs, options = calls[0][3:]
    assert {(s.setting, s.num_samples, s.max_epochs, s.num_seeds) for s in specs} == {
        (Setting("toy", "tiny", v), 3, 4, 2) for v in VARIANTS
    }
    assert (options.storage, options.max_concurrent, options.cpus_per_trial) == (str(tmp_path), 1, 2.0)
    assert 3590 < options.time_budget_s <= 3600


def test_targets_share_the_studies_of_the_same_settings(calls, tmp_path):
    """Table 4's are Figure 2's; Table 1's, which search, and footnote 4's are others."""
    names = {}
    for target in ("table1", "table4", "figure2", "footnote4"):
        calls.clear()
        main([target, "--size", "tiny", "--corpus", "toy", "--storage", str(tmp_path)])
        names[target] = [spec.name for spec in calls[0][3]]
    assert set(names["table4"]) < set(names["figure2"])
    assert len({*names["table1"], *names["figure2"], *names["footnote4"]}) == 12


def test_table_4_predicts_after_the_studies(calls, tmp_path):
    flags = ["--size", "tiny", "--corpus", "toy", "--phrase", "a0 b1", "--phrase", "c0 + d1"]
    assert main(["table4", *flags, "--storage", str(tmp_path)]) == 0
    assert [call[0] for call in calls] == ["studies", "predict", "report"]
    assert calls[1] == ("predict", ["a0 b1", "c0 + d1"], "toy")


def test_a_bad_phrase_is_refused_before_any_work(calls, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(plan, "probe_step_seconds", lambda *_, **__: Probe(0.5, 1e-4, 1e-2, 10**9))
    monkeypatch.setattr(launch, "run_studies", None)
    flags = ["table4", "--size", "tiny", "--corpus", "toy", "--storage", str(tmp_path)]
    assert main([*flags, "--phrase", "a0 zebra"]) == 2
    assert "got 'a0 zebra', which has 'zebra'" in capsys.readouterr().out
    assert main([*flags, "--phrase", "a0 + b1 b2"]) == 2
    assert "a phrase must have one word behind its +" in capsys.readouterr().out


def test_no_weights_is_a_failure_and_nothing_is_rendered(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "predict", lambda *_, **__: 0)
    assert main(["table4", "--size", "tiny", "--corpus", "toy", "--storage", str(tmp_path)]) == 1
    assert [call[0] for call in calls] == ["studies"]


def outcomes(monkeypatch: pytest.MonkeyPatch, calls: list[tuple], *results: object) -> None:
    """Makes the runs of studies return these results, one after another; an exception is raised."""
    left = list(results)

    def run_studies(specs, corpus, options, console):
        calls.append(("studies", specs[0].setting, options.time_budget_s))
        result = left.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(launch, "run_studies", run_studies)


@pytest.mark.parametrize(
    ("results", "status", "ran", "rendered", "says"),
    [
        (["finished", "interrupted"], 130, 2, False, "interrupted; nothing is lost"),
        ([KeyboardInterrupt()], 130, 1, False, "interrupted; nothing is lost"),
        (["finished", "time_budget"], 0, 2, True, "the time budget is used up; nothing is lost"),
        ([launch.StudyError("it is being run")], 1, 1, False, "error: it is being run"),
        ([launch.CorpusError("no ptb")], 1, 1, False, "error: no ptb"),
        (["finished", "finished"], 0, 2, True, "--only table1"),
    ],
)
def test_what_ends_a_command_early(results, status, ran, rendered, says, calls, monkeypatch, capsys, tmp_path):
    outcomes(monkeypatch, calls, *results)
    flags = ["table1", "--size", "small", "--storage", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *flags])
    assert main(flags) == status
    assert [call[0] for call in calls] == ["studies"] * ran + ["report"] * rendered
    out = capsys.readouterr().out
    assert says in out
    if status == 130 or "time_budget" in results:
        assert f"next:    python -m study.reproduce table1 --size small --storage {tmp_path}" in out
    else:
        assert "next:" not in out


def test_the_time_budget_is_that_of_all_studies_together(calls, monkeypatch, tmp_path):
    outcomes(monkeypatch, calls, "finished", "finished")
    clock = iter([0.0, 10.0, 3599.0])
    monkeypatch.setattr(launch.time, "monotonic", lambda: next(clock, 1e9))
    main(["table1", "--size", "small", "--time-budget", "1h", "--storage", str(tmp_path)])
    assert [call[2] for call in calls if call[0] == "studies"] == [3590.0, 1.0]


def test_a_used_up_budget_starts_no_more_studies(calls, monkeypatch, tmp_path):
    outcomes(monkeypatch, calls, "finished")
    clock = iter([0.0, 10.0, 3601.0])
    monkeypatch.setattr(launch.time, "monotonic", lambda: next(clock, 1e9))
    assert main(["table1", "--size", "small", "--time-budget", "1h", "--storage", str(tmp_path)]) == 0
    assert [call[0] for call in calls] == ["studies", "report"]


def test_a_report_that_fails_is_a_failure(calls, monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", lambda command, *, check: subprocess.CompletedProcess(command, 3))
    assert main(["table3", "--storage", str(tmp_path)]) == 3


def test_figure_1_runs_its_grid(calls, tmp_path):
    flags = ["--seeds", "2", "--max-epochs", "5", "--max-concurrent", "3", "--storage", str(tmp_path)]
    assert main(["figure1", *flags]) == 0
    (kind, grid, options), report = calls
    assert kind == "grid"
    assert grid.num_seeds == 2
    assert {config.num_epochs for config in grid.runs().values()} == {5}
    assert (options.storage, options.max_concurrent) == (str(tmp_path), 3)
    assert report[1][-2:] == ["--only", "figure1"]
