"""The page in a real browser: nothing is fetched, nothing overflows, nothing is empty, sorting and links work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.report import main
from analysis.tables import TABLES
from tests.support.browser import NAMES, Browser, find_browser

PHONE, DESKTOP = (360, 780), (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip(f"no browser is installed ({', '.join(NAMES)})")
    browser = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(example_storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert main(["--results", str(example_storage), "--out", str(out)]) == 0
    return out / "report.html"


def test_the_browser_reports_faults(browser: Browser, tmp_path: Path) -> None:
    """A page with every fault that the tests below look for."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<img src="https://example.org/a.png"><script>throw Error("fault")</script><p style="width:3000px">wide</p>',
        encoding="utf-8",
    )
    browser.open(bad, width=PHONE[0], height=PHONE[1])
    assert fetched(browser) == ["https://example.org/a.png"]
    assert faults(browser)
    assert overflow(browser) > 0


def fetched(browser: Browser) -> list[str]:
    """URLs that the page has requested besides itself and data URIs."""
    urls = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls[1:] if not url.startswith("data:")]


def faults(browser: Browser) -> list[object]:
    """Exceptions and what the browser has logged."""
    return [e["params"] for e in browser.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]


def overflow(browser: Browser) -> int:
    """Pixels by which the page is wider than the window."""
    return browser.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_opens(browser: Browser, page: Path, size: tuple[int, int], dark: bool) -> None:
    browser.open(page, width=size[0], height=size[1], dark=dark)
    assert fetched(browser) == []
    assert (
        browser.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
        == 0
    )
    assert faults(browser) == []
    assert browser.evaluate("innerWidth") == size[0]
    assert overflow(browser) == 0
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_table_and_figure_is_there(browser: Browser, page: Path, size: tuple[int, int]) -> None:
    browser.open(page, width=size[0], height=size[1])
    tables = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('article.table')].map(e => [e.id.slice(6),"
        " [e.querySelectorAll('tbody tr').length, e.querySelector('table').getBoundingClientRect().height]]))"
    )
    assert set(tables) == set(TABLES)
    for name, (num_rows, height) in tables.items():
        assert height > 20, name
        assert num_rows > 0 or name == "word_mass", f"{name}: nothing is recorded there alone"
    figures = browser.evaluate(
        "Promise.all([...document.querySelectorAll('figure img')].map(async e => { await e.decode();"
        " return [e.naturalWidth, e.getBoundingClientRect().width, e.alt.length]; }))"
    )
    drawn = {path.stem for path in (page.parent / "figures").glob("*.svg")}
    assert len(figures) == len(drawn) > 5
    assert all(natural > 100 and width > 100 and alt > 20 for natural, width, alt in figures)
    assert browser.evaluate("document.querySelectorAll('article.claim').length") == 12


def test_no_picture_is_blank(browser: Browser, page: Path) -> None:
    """Each has points of at least ten colours: axes alone, or a broken image, have fewer."""
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
    colours = browser.evaluate(
        """Promise.all([...document.querySelectorAll('figure img')].map(async image => {
             await image.decode();
             const canvas = Object.assign(document.createElement('canvas'), {width: 300, height: 300});
             const drawing = canvas.getContext('2d');
             drawing.drawImage(image, 0, 0, 300, 300);
             return new Set(new Uint32Array(drawing.getImageData(0, 0, 300, 300).data.buffer)).size;
           }))"""
    )
    assert min(colours) >= 10


def test_sorting(browser: Browser, page: Path) -> None:
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
    column = "[...document.querySelectorAll('#table-table1 tbody')][0].querySelectorAll('tr:not(.section)')"
    read = f"[...{column}].map(row => row.cells[1].textContent)"
    before = browser.evaluate(read)
    assert before == ["92.6", "86.3", "89.9", "86.3"]
    click = "document.querySelectorAll('#table-table1 thead th')[1].querySelector('button').click()"
    state = "document.querySelectorAll('#table-table1 thead th')[1].getAttribute('aria-sort')"
    assert browser.evaluate(state) is None
    browser.evaluate(click)
    assert (browser.evaluate(read), browser.evaluate(state)) == (["86.3", "86.3", "89.9", "92.6"], "ascending")
    browser.evaluate(click)
    assert (browser.evaluate(read), browser.evaluate(state)) == (["92.6", "89.9", "86.3", "86.3"], "descending")
    headings = "[...document.querySelectorAll('#table-table1 tr.section')].every(r => r === r.parentElement.rows[0])"
    assert browser.evaluate(headings), "a section's heading stays above its rows"


def test_units_count_in_sorting(browser: Browser, page: Path) -> None:
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
    browser.evaluate("document.querySelectorAll('#table-table3 thead th')[1].querySelector('button').click()")
    values = browser.evaluate(
        "[...document.querySelector('#table-table3 tbody').rows].map(r => r.cells[1]?.textContent)"
    )
    assert values[1] == "5M"
    assert values[-2:] == ["660M", "2.51B"]


def test_rows_without_a_number_come_last_either_way(browser: Browser, page: Path) -> None:
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
    find = "[...document.querySelectorAll('#table-table1 thead th')].find(e => e.textContent === 'Recipe valid')"
    body = "[...document.querySelectorAll('#table-table1 tbody')].find(e => e.textContent.includes('PTB, large'))"
    read = f"[...{body}.rows].slice(1).map(row => row.cells[3].textContent)"
    for _ in range(2):
        browser.evaluate(f"{find}.querySelector('button').click()")
        values = browser.evaluate(read)
        assert [value[0].isdigit() for value in values] == [True, True, False, False]


def test_a_number_leads_to_its_trials_and_these_to_their_rows(browser: Browser, page: Path) -> None:
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
    seen = "(e => [e.textContent.trim(), e.getBoundingClientRect().top, e.checkVisibility()])"
    browser.evaluate("document.querySelector('#table-table1 td a[href*=trials]').click()")
    name = browser.evaluate("location.hash.slice(1)")
    assert name == "table1-trials-1"
    text, top, visible = browser.evaluate(f"{seen}(document.getElementById({json.dumps(name)}))")
    assert text.startswith("PTB, small (200 units), VD-LSTM: Recipe valid")
    assert visible
    assert 0 <= top < DESKTOP[1]
    browser.evaluate(f"document.getElementById({json.dumps(name)}).nextElementSibling.querySelectorAll('a')[1].click()")
    row = browser.evaluate("location.hash.slice(1)")
    text, top, visible = browser.evaluate(f"{seen}(document.getElementById({json.dumps(row)}))")
    assert text.startswith("confirm-paper-s101")
    assert visible
    assert 0 <= top < DESKTOP[1]


def test_a_figure_is_enlarged_and_closed_again(browser: Browser, page: Path) -> None:
    browser.open(page, width=PHONE[0], height=PHONE[1])
    open_, width = (
        "document.getElementById('zoom').open",
        "document.querySelector('#zoom img').getBoundingClientRect().width",
    )
    browser.evaluate("document.querySelector('figure .card a').click()")
    assert browser.evaluate(open_)
    assert browser.evaluate(width) > 2 * PHONE[0]
    assert browser.evaluate("location.pathname").endswith("report.html")
    browser.evaluate("document.querySelector('#zoom button').click()")
    assert not browser.evaluate(open_)


def test_in_print_what_is_folded_is_open_and_nothing_asks_for_a_click(browser: Browser, page: Path) -> None:
    browser.open(page, width=800, height=1100, media="print")
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate("[...document.querySelectorAll('details:not(.study)')].every(e => e.open)")
    assert not browser.evaluate("document.querySelector('details.study').open"), "hundreds of trials"
    hidden = "[...document.querySelectorAll('nav, dialog, .files')].every(e => !e.checkVisibility())"
    assert browser.evaluate(hidden)
    arrow = "getComputedStyle(document.querySelector('thead button'), '::after').content"
    assert browser.evaluate(arrow) == "none"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(browser: Browser, page: Path, dark: bool) -> None:
    """WCAG AA: 4.5 for text, over the background that it stands on."""
    browser.open(page, width=DESKTOP[0], height=DESKTOP[1], dark=dark)
    worst = browser.evaluate(
        """(() => {
          const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
          const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
          const light = c => [.2126, .7152, .0722].reduce((sum, part, i) => sum + part * linear(c[i] / 255), 0);
          const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
          const found = {};
          for (const e of document.querySelectorAll('body *')) {
            if (e.closest('svg, script, style, dialog')) continue;
            if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
            const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
            const ratio = (a + .05) / (b + .05);
            const name = e.tagName + '.' + e.className;
            if (!(found[name] <= ratio)) found[name] = ratio;
          }
          return found;
        })()"""
    )
    assert {name: ratio for name, ratio in worst.items() if ratio < 4.5} == {}


def test_without_scripts_the_page_says_the_same(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, width=DESKTOP[0], height=DESKTOP[1])
        document = browser.call("DOM.getDocument")["root"]["nodeId"]
        found = browser.call("DOM.querySelectorAll", nodeId=document, selector="thead button")["nodeIds"]
        rows = browser.call("DOM.querySelectorAll", nodeId=document, selector="#table-table1 tbody tr")["nodeIds"]
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert found == [], "no button that does nothing"
    assert len(rows) > 20
