"""The command: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.report import build_parser, main
from study.records import Cell
from tests.analysis.synthetic import write_run, write_trial

FILES = {
    "report.md", "table1.md", "table1.csv", "table1.trials.csv", "parameters.md", "parameters.csv",
    "parameters.trials.csv", "figure2.png", "figure2.svg", "figure2.csv",
}  # fmt: skip


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A study of a few trials."""
    path, cell = tmp_path / "results", Cell("ptb", "small", "real")
    write_run(str(path), cell, "s")
    for trial_id, origin in (("default-0000", None), ("confirm-paper-s101", "paper"), ("confirm-paper-s102", "paper")):
        write_trial(str(path), cell, "s", trial_id, [100.0, 90.0], origin=origin, test_ppl=origin and 85.0)
    return path


def test_the_whole_report(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(storage), "--output", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {"table1.csv", "figure2.png", "figure2.svg"} <= set(links) <= FILES
    assert "## Table 1" in text
    out = capsys.readouterr().out
    assert out.startswith("Table 1: validation and test perplexity\n")
    assert out.splitlines()[-1] == f"Report: {tmp_path / 'out' / 'report.md'}"
    assert "not run" in out


def test_an_empty_folder_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "python -m study.run" in out
    assert re.search(r"^VD-LSTM +92\.6 +87\.3 +not run +not run$", out, re.MULTILINE)
    assert "python -m study.run" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "figure2.png").exists()


def test_an_old_figure_does_not_outlive_its_records(tmp_path: Path) -> None:
    storage, out = tmp_path / "results", tmp_path / "out"
    write_trial(str(storage), Cell("toy", "tiny", "re"), "s", "default-0000", [50.0, 40.0])
    main(["--results", str(storage), "--output", str(out)])
    assert (out / "figure2.svg").exists()
    main(["--results", str(out), "--output", str(out)])
    assert not (out / "figure2.svg").exists()


def test_one_table_or_one_figure(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--results", str(storage), "--output", str(tmp_path / "a"), "--table", "parameters"])
    assert {path.name for path in (tmp_path / "a").iterdir()} == {f for f in FILES if "param" in f} | {"report.md"}
    assert capsys.readouterr().out.startswith("Trainable parameters\n")
    main(["--results", str(storage), "--output", str(tmp_path / "b"), "--figure", "figure2"])
    assert {path.name for path in (tmp_path / "b").iterdir()} == {f for f in FILES if "figure" in f} | {"report.md"}
    assert capsys.readouterr().out == f"\nReport: {tmp_path / 'b' / 'report.md'}\n"


def test_several_storages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, variant in (("one", "re"), ("two", "real")):
        write_run(str(tmp_path / name), Cell("toy", "tiny", variant), name)
    both = [arg for name in ("one", "two") for arg in ("--results", str(tmp_path / name))]
    main([*both, "--output", str(tmp_path / "out"), "--table", "table1"])
    after = capsys.readouterr().out.split("Toy, tiny (48 units)")[1]
    assert after.count("none yet") == 8


def test_the_default_is_the_environments_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDY_STORAGE", str(tmp_path / "here"))
    assert main(["--output", str(tmp_path / "out"), "--table", "table1"]) == 0
    assert f"No records under {tmp_path / 'here'}." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--table", "table9"], "invalid choice: 'table9' (choose from"),
        (["--figure", "table1"], "invalid choice"),
        (["--result", "x"], "unrecognized arguments"),
        (["--results", "absent"], "must be a folder or an s3:// URI, got 'absent'"),
        (["table1"], "unrecognized arguments"),
    ],
)
def test_what_is_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_line_is_frozen() -> None:
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options == {"-h", "--help", "--results", "--output", "--table", "--figure"}


def test_a_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = Cell("toy", "tiny", "re")
    write_trial(str(tmp_path), cell, "s", "default-0000", [50.0])
    (broken,) = tmp_path.glob("epochs/**/*.parquet")
    broken.write_bytes(b"PAR1 but no more")
    assert main(["--results", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "default-0000.a1.parquet" in capsys.readouterr().err


def test_no_torch_ray_or_optuna_is_loaded() -> None:
    loaded = "{'torch', 'ray', 'optuna'} & {m.split('.')[0] for m in sys.modules}"
    code = f"import sys, analysis.report, study.status; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
