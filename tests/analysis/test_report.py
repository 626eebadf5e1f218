"""The command: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis import report
from analysis.health import Check
from analysis.page.write import NAMES
from analysis.report import PROBLEM_STATUS, build_parser, main
from analysis.tables import TABLES
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial

TABLE_SUFFIXES = (".md", ".csv", ".trials.csv")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A study of a few trials."""
    path, setting = tmp_path / "results", Setting("ptb", "small", "real")
    write_run(str(path), setting, "s")
    for trial_id, origin in (("default-0000", None), ("confirm-paper-s101", "paper"), ("confirm-paper-s102", "paper")):
        write_trial(str(path), setting, "s", trial_id, [100.0, 90.0], origin=origin, test_ppl=origin and 85.0)
    return path


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_whole_report(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(storage), "--out", str(tmp_path / "out")]) == 0
    files = written(tmp_path / "out")
    tables = {f"tables/{name}{suffix}" for name in (*TABLES, "claims", "health") for suffix in TABLE_SUFFIXES}
    assert tables | {"report.html", "tables/trials.csv", "tables/runs.csv"} <= files
    assert {f"figures/figure2{suffix}" for suffix in (".png", ".svg", ".csv")} <= files
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    links = {href for href in re.findall(r'href="([^"#][^"]*)"', html) if not href.startswith("data:")}
    assert links <= files
    assert {path for path in files if not path.startswith("tables/health")} <= links | {
        "report.html", *(f"tables/claims{suffix}" for suffix in TABLE_SUFFIXES),
    }  # fmt: skip
    out = capsys.readouterr().out
    assert out.startswith("Table 1: validation and test perplexity\n")
    assert out.splitlines()[-1] == f"Report: {tmp_path / 'out' / 'report.html'}"
    assert re.search(r"^Claims: .*12 not enough evidence|^Claims: \d+ not enough evidence", out, re.MULTILINE)
    assert re.search(r"^Health: \d+ problems?, \d+ warnings?$", out, re.MULTILINE)
    assert "not run" in out


def test_an_empty_folder_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "out"), "--strict"]) == 0
    out = capsys.readouterr().out
    assert "python -m study.run" in out
    assert re.search(r"^VD-LSTM +92\.6 +87\.3 +not run +not run *$", out, re.MULTILINE)
    assert "python -m study.run" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert list((tmp_path / "out" / "figures").iterdir()) == []


def test_several_storages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, variant in (("one", "re"), ("two", "real")):
        write_run(str(tmp_path / name), Setting("toy", "tiny", variant), name)
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    for storages in (["--results", one, two], ["--results", one, "--results", two]):
        main([*storages, "--out", str(tmp_path / "out"), "--only", "table1"])
        after = capsys.readouterr().out.split("Toy, tiny (48 units)")[1]
        assert after.count("none yet") == 8


def test_one_table_and_one_figure(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    assert main(["--results", str(storage), "--out", str(out), "--only", "parameters,figure2"]) == 0
    assert written(out) == {
        *(f"tables/parameters{suffix}" for suffix in TABLE_SUFFIXES),
        *(f"figures/figure2{suffix}" for suffix in (".png", ".svg", ".csv")),
    }
    said = capsys.readouterr().out
    assert said.startswith("Trainable parameters\n")
    assert f"Written: {out}/figures/figure2.png" in said
    assert "Table 1:" not in said


@pytest.mark.parametrize("name", ["claims", "health"])
def test_claims_and_health_are_to_be_had_alone(
    name: str, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--results", str(storage), "--out", str(tmp_path / "out"), "--only", name]) == 0
    assert written(tmp_path / "out") == {f"tables/{name}{suffix}" for suffix in TABLE_SUFFIXES}
    assert {"claims": "not enough evidence", "health": "warning"}[name] in capsys.readouterr().out


def test_a_figure_without_records_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "figure2"]) == 0
    assert "Nothing to draw: " in capsys.readouterr().out


def test_a_problem_fails_where_that_was_asked_for(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--results", str(storage), "--out", str(tmp_path / "out"), "--only", "parameters"]
    checks = [Check(name="a check", level="problem", text="what is wrong"), Check(name="b", level="ok", text="")]
    monkeypatch.setattr(report, "check_health", lambda results: checks)
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--strict"]) == PROBLEM_STATUS == 3
    assert "problem: a check: what is wrong" in capsys.readouterr().out.splitlines()
    monkeypatch.setattr(report, "check_health", lambda results: [Check(name="c", level="warning", text="")])
    assert main([*command, "--strict"]) == 0


def test_the_default_is_the_environments_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(str(tmp_path / "here"), Setting("toy", "tiny", "re"), "s")
    monkeypatch.setenv("STUDY_STORAGE", str(tmp_path / "here"))
    assert main(["--out", str(tmp_path / "out"), "--only", "table1"]) == 0
    assert "Toy, tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--only", "table9"], "must be among claims, health, table1, "),
        (["--only", "table1,figure9"], "got 'figure9'"),
        (["--only", ""], "got ''"),
        (["--result", "x"], "unrecognized arguments"),
        (["--results", "absent"], "must be a folder or an s3:// URI, got 'absent'"),
        (["table1"], "unrecognized arguments"),
        (["--out", __file__], "must be a folder, got"),
    ],
)
def test_what_is_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_line_is_frozen() -> None:
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options == {"-h", "--help", "--results", "--out", "--only", "--strict"}


def test_a_name_is_a_table_or_a_figure_but_not_both() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = Setting("toy", "tiny", "re")
    write_trial(str(tmp_path), setting, "s", "default-0000", [50.0])
    (broken,) = tmp_path.glob("epochs/**/*.parquet")
    broken.write_bytes(b"PAR1 but no more")
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "default-0000.a1.parquet" in capsys.readouterr().err


def test_records_of_an_earlier_version_are_read(storage: Path, tmp_path: Path) -> None:
    """A column that did not exist yet when a trial was recorded is missing, not wrong."""
    for path in storage.glob("trials/**/*.parquet"):
        table = pq.ParquetFile(path).read()
        pq.write_table(table.drop_columns(["precision", "second_session_epoch"]), path)
    assert main(["--results", str(storage), "--out", str(tmp_path / "out")]) == 0


def test_no_torch_or_ray_is_loaded() -> None:
    loaded = "{'torch', 'ray'} & {m.split('.')[0] for m in sys.modules}"
    code = f"import sys, analysis.report, study.status; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
