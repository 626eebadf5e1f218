"""The page as plain data and as HTML: every number can be followed, every link leads somewhere, text stays text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.claims import judge
from analysis.figures import FIGURES
from analysis.health import Check
from analysis.page.citations import CitationIndex
from analysis.page.page import Page, Picture, answer, build_page
from analysis.page.pictures import write_pictures
from analysis.page.table_views import table_view
from analysis.page.write import prose, render_page
from analysis.records.load import Results, load_results
from analysis.records.sources import trial_keys
from analysis.tables import TABLES
from analysis.tables.table import Column, Interval, Measured, Row, Table, interval, number, plain
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial

STUDY = "real-small-ptb-0a1b2c3d"
HOSTILE = "<script>alert(1)</script>"


def make(results: Results, **parts: object) -> Page:
    options = {
        "tables": [table(results) for table in TABLES.values()], "verdicts": judge(results), "checks": [],
        "pictures": [], "skipped": [], "commands": {name: f"run {name}" for name in TABLES}, "first_command": "run it",
        "files": {"table1": ["tables/table1.csv"], "records": ["tables/trials.csv"]},
    }  # fmt: skip
    return build_page(results, **(options | parts))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(example: Results) -> Page:
    picture = Picture(
        name="figure9", title="Figure 9", caption="A & B.", section="paper", uri="data:image/png;base64,AAAA", width=9,
        height=8, files=("figures/figure9.png", "figures/figure9.svg"),
        trials=trial_keys(STUDY, ["default-0000"]),
    )  # fmt: skip
    checks = [
        Check(name="One study", level="problem", text="Bad.", studies=(STUDY,), trials=trial_keys(STUDY, ["tpe-0004"])),
        Check(name="Two", level="warning", text="So so.", studies=(STUDY, "failed-study")),
        Check(name="None", level="ok", text="Fine."),
    ]
    skipped = [replace(FIGURES["figure1"], title="Figure 1", needs="no runs yet: `run figure1`")]
    return make(example, pictures=[picture], checks=checks, skipped=skipped)


@pytest.fixture(scope="module")
def html(page: Page) -> str:
    return render_page(page)


class Document(HTMLParser):
    """The start tags, ids and visible words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


def test_every_link_on_the_page_leads_somewhere(html: str) -> None:
    document = Document(html)
    ids = Counter(document.all("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    internal = {href[1:] for href in document.all("href") if href.startswith("#")}
    assert internal - set(ids) == set()
    assert len(internal) > 400, "the trials are linked"


def test_nothing_is_loaded(html: str) -> None:
    document = Document(html)
    assert all(src.startswith("data:") for src in document.all("src"))
    outside = [href for href in document.all("href") if re.match(r"[a-z]+:", href) and not href.startswith("data:")]
    assert outside == []
    assert not re.search(r"url\(|@import|https?://", html)
    assert {tag for tag, _ in document.tags} & {"iframe", "object", "embed", "base"} == set()


NAMES_OR_GIVEN = {
    *("Model", "Comparison", "Configuration", "Corpus", "Size", "Models", "Word", "Rank"),
    *("Paper valid", "Paper test", "Parameters", "Valid", "Test", "Ours: parameters", "Computed", "Paper (Table 3)"),
    *("Paper's system", "VD-LSTM, paper", "VD-LSTM+REAL, paper"),
}
"""Columns of the page whose numbers, if any, are names, the paper's, or follow from the configuration."""


def test_every_number_of_ours_leads_to_its_trials(example: Results, full: Results) -> None:
    linked = set()
    for results, make_table in itertools.product((example, full), TABLES.values()):
        table, citation_index = make_table(results), CitationIndex(results)
        view = table_view(table, citation_index)
        behind = {citation.anchor: citation.cited for citation in view.citations}
        listed = {anchor for study in citation_index.studies() for anchor, _ in study.rows}
        for row, shown in zip(table.rows, (row for _, group in view.groups for row in group), strict=True):
            for column, cell in zip(table.columns, shown.cells, strict=True):
                if cell.anchor:
                    cited = [(one.study, *trial) for one in behind[cell.anchor] for trial in one.trials]
                    assert {(study, trial_id) for study, trial_id, _ in cited} == set(column.cell(row.data).trials)
                    assert {anchor for *_, anchor in cited} <= listed
                    linked.add((table.name, column.title))
                elif column.title not in NAMES_OR_GIVEN:
                    assert not re.search(r"[1-9]", cell.text), (table.name, row.name, column.title, cell.text)
    assert {name for name, _ in linked} == set(TABLES)
    assert len(linked) > 50


def test_every_comparison_and_every_figure_leads_to_its_trials(full: Results, tmp_path: Path) -> None:
    pictures, _ = write_pictures(full, tmp_path / "figures")
    page = make(full, pictures=pictures)
    assert len(page.pictures) > 5
    assert all(cited and all(one.trials for one in cited) for _, cited in page.pictures)
    made = [comparison for claim in page.claims for comparison in claim.comparisons if comparison.effect]
    assert made
    assert all(comparison.cited for comparison in made)


def test_the_trials_behind_a_number_by_name(example: Results) -> None:
    table = TABLES["table1"](example)
    citation_index = CitationIndex(example)
    view = table_view(table, citation_index)
    place = next(i for i, row in enumerate(table.rows) if row.name == "ptb/small/real")
    row = [row for _, group in view.groups for row in group][place]
    column = next(i for i, column in enumerate(table.columns) if column.title == "Recipe test")
    citation = next(c for c in view.citations if c.anchor == row.cells[column].anchor)
    assert citation.label == (
        "PTB, small (200 units), VD-LSTM+REAL: Recipe valid, Recipe test, Recipe - paper, valid, Recipe - paper, test"
    )
    (cited,) = citation.cited
    assert [trial_id for trial_id, _ in cited.trials] == [f"confirm-paper-s{seed}" for seed in range(101, 107)]
    assert {anchor for _, anchor in cited.trials} <= {a for study in citation_index.studies() for a, _ in study.rows}
    paper = next(i for i, column in enumerate(table.columns) if column.title == "Paper test")
    assert row.cells[paper].anchor == ""


def test_cells_with_the_same_trials_share_a_list(example: Results) -> None:
    one, two = trial_keys(STUDY, ["default-0000"]), trial_keys(STUDY, ["default-0000", "random-0001"])
    data = {"model": "M", "x": Interval(1.0, one, 0.5, 2.0), "y": Measured(3, two), "z": Measured(4, one), "given": 5}
    table = Table(
        name="t", title="T", caption="C", narrow=(),
        rows=(Row(name="r", data={**data, "none": Measured(None, one)}, notes=("n", "m"), dim=True),),
        columns=(
            Column(title="Model", cell=plain("model"), left=True), Column(title="X", cell=interval("x")),
            Column(title="Y", cell=number("y", "d")), Column(title="Z", cell=number("z", "d")),
            Column(title="Given", cell=number("given", "d")), Column(title="None", cell=number("none", missing="-")),
        ),
    )  # fmt: skip
    view = table_view(table, CitationIndex(example), command="run it")
    (row,) = view.groups[0][1]
    assert [cell.anchor for cell in row.cells] == ["", "t-trials-1", "t-trials-2", "t-trials-1", "", ""]
    assert [c.label for c in view.citations] == ["M: X, Z", "M: Y"]
    assert [[t for t, _ in c.cited[0].trials] for c in view.citations] == [
        ["default-0000"], ["default-0000", "random-0001"],
    ]  # fmt: skip
    assert (row.note, row.dim, view.notes, view.command) == (1, True, ("n; m",), "")


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["supported"] * 2, "Of 2 claims, today's evidence supports 2."),
        (
            ["supported", "contradicted", "x"],
            "Of 3 claims, today's evidence supports 1 and contradicts 1; for 1 it is not ",
        ),
        (["contradicted", "x"], "Of 2 claims, today's evidence contradicts 1; for 1 it is not enough."),
        (["x", "x"], "Today's evidence is not enough to judge any of the 2 claims."),
    ],
)
def test_the_answer(verdicts: list[str], said: str) -> None:
    assert answer(verdicts, is_empty=False).startswith(said)
    assert (
        answer(verdicts, is_empty=True)
        == f"No study has been run yet, so none of the {len(verdicts)} claims can be judged."
    )


def test_facts_and_files(page: Page, html: str) -> None:
    facts = dict(page.facts)
    assert (facts["studies"], facts["trials"]) == ("16", "258")
    assert facts["last record"] == "2026-03-01 13:18 UTC"
    text = " ".join(Document(html).words)
    assert "The claims rest on" in text
    for path in ("tables/table1.csv", "tables/trials.csv", "figures/figure9.svg"):
        assert f'href="{path}"' in html


def test_checks_cite_their_trials_or_name_their_studies(page: Page, html: str) -> None:
    (one,), (two,), (fine,) = (group.checks for group in page.checks)
    assert [(c.study, [t for t, _ in c.trials]) for c in one.cited] == [(STUDY, ["tpe-0004"])]
    assert two.cited == ()
    assert [name for name, _ in two.studies] == [STUDY, "failed-study"]
    assert all(anchor for _, anchor in two.studies)
    assert (fine.studies, fine.cited) == ((), ())
    assert html.index("Bad.") < html.index("So so.") < html.index("Fine.")


def test_what_is_missing_is_said_with_its_command(page: Page, html: str) -> None:
    assert "Figure 1: no runs yet: <code>run figure1</code>" in html
    missing = {view.table.name for view in page.tables if view.command}
    assert "table2" in missing
    assert "table1" not in missing
    assert "No trial stands behind this table yet: <code>run table2</code>" in html


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    page = make(load_results([str(tmp_path)]))
    text = " ".join(" ".join(Document(render_page(page)).words).split())
    assert "No study has been run yet, so none of the 12 claims can be judged." in text
    assert "A first study of a minute or two: run it" in text
    assert dict(page.facts)["last record"] == "none"
    assert page.studies == ()


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    setting = Setting("toy", "tiny", "re")
    write_run(str(tmp_path), setting, HOSTILE, argv=HOSTILE)
    write_trial(str(tmp_path), setting, HOSTILE, "default-0000", [50.0, 40.0])
    results = load_results([str(tmp_path)])
    picture = Picture(
        name="f", title=HOSTILE, caption='" onload="alert(1)', section="study", uri="data:,", width=1, height=1,
        files=('figures/"><script>', 'figures/">'), trials=(),
    )  # fmt: skip
    check = Check(name=HOSTILE, level="problem", text=f"`{HOSTILE}`", studies=(HOSTILE,))
    html = render_page(make(results, pictures=[picture], checks=[check]))
    document = Document(html)
    assert HOSTILE in "".join(document.words)
    assert [tag for tag, _ in document.tags].count("script") == 1
    assert "onload" not in {name for _, attrs in document.tags for name in attrs}


def test_the_page_is_well_formed(html: str) -> None:
    void = {"meta", "link", "img", "line", "br"}
    stack: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in void:
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in void:
                assert stack.pop() == tag, self.getpos()

    Checker().feed(html)
    assert stack == []


def test_tables_and_figures_are_named_for_those_who_do_not_see(html: str) -> None:
    document = Document(html)
    names = [tag for tag, _ in document.tags]
    assert names.count("caption") == names.count("table") > 10
    assert all(attrs.get("scope") for tag, attrs in document.tags if tag == "th")
    images = [attrs for tag, attrs in document.tags if tag == "img" and attrs.get("src")]
    assert [image["alt"] for image in images] == ["Figure 9. A & B."]
    headings = [int(tag[1]) for tag in names if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(headings, headings[1:], strict=False)), "no level is skipped"


def test_code_in_prose() -> None:
    assert prose("run `a <b> c` & go") == "run <code>a &lt;b&gt; c</code> &amp; go"
