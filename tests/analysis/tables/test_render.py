"""Tables as Markdown, CSV and terminal lines: markup is literal, widths are kept, nothing is lost."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis.records.load import Results
from analysis.records.sources import trial_keys
from analysis.tables.render import escape_markdown, markdown, print_table, write_table
from analysis.tables.table import Column, Measured, Row, Table, number, plain
from analysis.tables.table1_2 import table_1

COLUMNS = (
    Column(title="Model", cell=plain("model"), left=True),
    Column(title="upper\nppl", cell=number("ppl")),
    Column(title="trials", cell=number("trials", "d")),
)


def make(name: str = "A|B_*[x](y)<b>") -> Table:
    ppl = Measured(1234.5678, trial_keys("study", "ab"))
    return Table(
        name="t",
        title="Title",
        caption="Caption.",
        rows=(
            Row(name="one", data={"model": name, "ppl": ppl, "trials": 3}, section="First", notes=("same", "twice")),
            Row(name="two", data={"model": "B", "ppl": None, "trials": None}, section="First", notes=("same", "twice")),
            Row(name="three", data={"model": "C", "ppl": 2.0, "trials": 1}, section="Second", notes=("[bold]other",)),
        ),
        columns=COLUMNS,
        narrow=COLUMNS,
    )


def test_markup_is_escaped() -> None:
    assert escape_markdown("a|b_c*d [e](f) <g> `h` $i$ \\ &amp;\nj") == (
        r"a\|b\_c\*d \[e\](f) \<g\> \`h\` \$i\$ \\ \&amp; j"
    )


def test_markdown_has_one_line_per_row_and_equal_cells() -> None:
    lines = markdown(make()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert rows[2] == r"| First | A\|B\_\*\[x\](y)\<b\> | 1234.6 | 3 | 1 |"
    assert rows[3] == "| First | B |  |  | 1 |"
    assert lines[-2:] == ["1. same; twice", r"2. \[bold\]other"]


def test_csv_keeps_whole_numbers_and_full_precision(tmp_path: Path) -> None:
    paths = write_table(make(), tmp_path)
    assert [path.name for path in paths] == ["t.md", "t.csv", "t.trials.csv"]
    text = paths[1].read_text(encoding="utf-8").splitlines()
    assert text == [
        "row,model,ppl,trials,notes",
        "one,A|B_*[x](y)<b>,1234.5678,3,same; twice", "two,B,,,same; twice", "three,C,2.0,1,[bold]other",
    ]  # fmt: skip
    provenance = pd.read_csv(paths[2])
    assert provenance.to_dict("records") == [
        {"table": "t", "row": "one", "column": "ppl", "study": "study", "trial_ids": "a b"}
    ]


def printed(table: Table, **options: object) -> str:
    out = io.StringIO()
    print_table(table, Console(file=out, **options))  # type: ignore[arg-type]
    return out.getvalue()


def test_piped_output_is_plain_and_markup_is_text() -> None:
    text = printed(make("[red]A[/red]"), width=100)
    assert "\x1b" not in text
    assert "[red]A[/red]" in text
    assert "2: [bold]other" in text
    assert [line.rstrip() for line in text.splitlines()[:3]] == [
        "Title",
        "              upper",
        "Model           ppl trials",
    ]


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[" in printed(make(), force_terminal=True, color_system="standard")


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_row_of_table_1_is_a_line_of_at_most_100_characters(example: Results, width: int) -> None:
    table = table_1(example)
    lines = printed(table, width=width).splitlines()
    assert max(map(len, lines)) <= 100
    empty = table.empty_sections()
    assert empty
    assert sum(line.startswith("VD-LSTM") for line in lines) == 24 + 4 - 4 * len(empty)
    text = " ".join(lines)
    assert f"Without results: {'; '.join(empty)}" in text
    assert all(len(line) <= width for line in lines[lines.index("Toy, tiny (48 units)") + 5 :])  # caption and notes


def test_a_table_without_any_result_shows_all_its_rows() -> None:
    rows = tuple(Row(name=name, data={"x": Measured()}, section=name, dim=True) for name in ("a", "b"))
    table = dataclasses.replace(make(), rows=rows)
    assert table.empty_sections() == ()
    measured = Measured(1, trial_keys("study", "t"))
    some = dataclasses.replace(table, rows=(*rows, Row(name="c", data={"x": measured}, section="c", dim=True)))
    assert some.empty_sections() == ("a", "b")


def test_the_note_of_a_section_that_is_not_shown_is_not_printed() -> None:
    whole = make()
    empty = Row(
        name="four", data={"model": "D", "ppl": None, "trials": None}, section="Third", notes=("why not",), dim=True
    )
    text = printed(dataclasses.replace(whole, rows=(*whole.rows[:2], empty)))
    assert "Without results: Third" in text
    assert "why not" not in text
    assert "same; twice" in text
