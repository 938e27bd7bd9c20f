"""The page in a real browser: drawn, sortable, readable on a phone, silent, offline, and not to be fooled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import Chromium
from made_store import block, done, failed, large_store, write_manifest, write_store

from cbs_opt.kernel.words import shown
from cbs_opt.report.build import build_report
from cbs_opt.report.page import batch_page
from cbs_opt.store import open_store

CHARTS = ["profile-time", "profile-objective", "curves", "sizes", "layers", "places"]

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'; document.title = 'owned'; //<!--<script>",
    "&lt;b&gt; ${document.title='owned'} `",
    "\u202etxet desrever\u2069 \x1b[31mred\x07",
    "__proto__",
    "long " * 2_000,
)


def page_of(store: Path) -> Path:
    with open_store(store) as opened:
        report = build_report(opened)
    file = store.with_name("report.html")
    file.write_text(batch_page(report), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 1,000 blocks, three methods, two sparsities."""
    return page_of(large_store(tmp_path_factory.mktemp("large")))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name in the store is an attack; a bound is broken."""
    folder = tmp_path_factory.mktemp("hostile")
    manifest = str(folder / "manifest.json")
    blocks = [block(name, 4, tensor=name, first=0, manifest=manifest) for name in HOSTILE]
    write_manifest(folder / "manifest.json", blocks, network=HOSTILE[0])
    records = [
        done(one, method, 1.0, 0.5, asked=HOSTILE[3], trace=[(0.5, 2.0, 0.1)]) for one in blocks for method in HOSTILE
    ]
    records += [failed(one, HOSTILE[0], "error", HOSTILE[1], asked=HOSTILE[2]) for one in blocks]
    records += [done(blocks[0], "liar", 3.0, 3.0, asked=HOSTILE[3])]
    return page_of(write_store(folder / "results.sqlite", records))


class TestText:
    def test_it_needs_nothing_else(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|,)[a-z/.]""", text.split("<script>")[0])
        assert "Content-Security-Policy" in text

    def test_it_stays_small_however_many_blocks(self, tmp_path: Path, page: Path) -> None:
        larger = page_of(large_store(tmp_path, blocks=2_000))
        assert page.stat().st_size < 300_000
        assert larger.stat().st_size < 1.2 * page.stat().st_size

    def test_names_are_escaped(self, hostile_page: Path) -> None:
        text = hostile_page.read_text(encoding="utf-8")
        assert text.count("<script") == 2  # the data and the program
        assert "<img" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    def test_names_in_one_line(self) -> None:
        assert shown("a\nb\x1b[1m\u202ec") == "a b�[1m�c"
        assert shown("plain [3] λ") == "plain [3] λ"
        assert len(shown("x" * 10_000, 50)) == 50
        assert shown("layer1.conv.weight[000123]", 12) == "layer1.c…23]"

    def test_an_empty_store(self, tmp_path: Path) -> None:
        assert "no results" in page_of(write_store(tmp_path / "results.sqlite", [])).read_text(encoding="utf-8")


class TestInABrowser:
    def test_every_chart_is_drawn(self, browser: Chromium, page: Path) -> None:
        browser.look_at(page)
        for chart in CHARTS:
            marks = browser.run(f"document.querySelectorAll('#{chart} svg .mark').length")
            assert marks >= 3, chart
        assert browser.run("document.querySelectorAll('#layers .cell').length") == 6 * 4
        assert browser.run("document.querySelectorAll('figure').length") == len(CHARTS)
        assert not re.search("NaN|Infinity|undefined", browser.run("document.getElementById('charts').innerHTML"))
        assert browser.problems() == []

    def test_marks_lie_inside_their_charts(self, browser: Chromium, page: Path) -> None:
        browser.look_at(page)
        outside = browser.run(
            "[...document.querySelectorAll('svg .mark')].filter(mark => {"
            "const m = mark.getBBox(), s = mark.ownerSVGElement;"
            "return m.x < -1 || m.y < -1 || m.x + m.width > s.clientWidth + 1 || m.y + m.height > s.clientHeight + 1;"
            "}).length"
        )
        assert outside == 0

    def test_another_request_draws_other_charts(self, browser: Chromium, page: Path) -> None:
        browser.look_at(page)
        before = browser.run("document.querySelector('#curves svg').innerHTML")
        browser.click(".asked button", 1)
        assert browser.run("document.querySelector('#curves svg').innerHTML") != before
        assert browser.run("document.querySelectorAll('.asked button')[1].getAttribute('aria-pressed')") == "true"
        browser.click("#layers .choices button", 3)
        assert " s" in browser.run("document.querySelector('#layers svg').textContent")
        assert browser.problems() == []

    def test_the_legend_hides_a_method_everywhere(self, browser: Chromium, page: Path) -> None:
        browser.look_at(page)
        count = "document.querySelectorAll('#profile-objective .line, #sizes .dot').length"
        before = browser.run(count)
        browser.click("#profile-time .legend button", 1)
        assert browser.run(count) < before
        browser.click("#profile-time .legend button", 1)
        assert browser.run(count) == before
        for button in range(3):
            browser.click("#profile-time .legend button", button)
        assert browser.run(count) == 0
        assert browser.problems() == []

    @pytest.mark.parametrize("chart", CHARTS)
    def test_pointing_at_a_chart_says_its_numbers(self, browser: Chromium, page: Path, chart: str) -> None:
        browser.look_at(page)
        browser.hover(f"#{chart} svg", along=0.6)
        assert browser.run("document.querySelector('.tip').hidden") is False
        assert re.search(r"\d", browser.run("document.querySelector('.tip').textContent"))
        browser.hover("h1")
        assert browser.run("document.querySelector('.tip').hidden") is True
        assert browser.problems() == []

    def test_tables_sort_on_click(self, browser: Chromium, page: Path) -> None:
        browser.look_at(page)
        heads = browser.run(
            "[...document.querySelectorAll('table')].map(t => [...t.tHead.rows[0].cells].map(c => c.innerText))"
        )
        table = next(i for i, head in enumerate(heads) if "wins" in head)
        column = heads[table].index("wins")
        read = (
            f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows]"
            f".map(row => Number(row.cells[{column}].dataset.value))"
        )
        browser.run(f"document.querySelectorAll('table')[{table}].setAttribute('id', 'sorted')")
        browser.click("#sorted th button", column)
        up = browser.run(read)
        browser.click("#sorted th button", column)
        down = browser.run(read)
        assert len(set(up)) > 1
        assert up == sorted(up)
        assert down == sorted(down, reverse=True)
        sorted_by = "document.querySelector('#sorted th[aria-sort=descending]').innerText.trim()"
        assert browser.run(sorted_by).startswith("wins")

    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True])
    def test_nothing_hangs_over_the_edge(self, browser: Chromium, page: Path, width: int, dark: bool) -> None:
        browser.look_at(page, width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") <= browser.run("innerWidth")
        assert browser.run("innerWidth") == width
        light = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light != dark
        sizes = browser.run(
            "[...document.querySelectorAll('svg text')].map(text => parseFloat(getComputedStyle(text).fontSize))"
        )
        assert min(sizes) >= 11
        assert browser.problems() == []

    @pytest.mark.parametrize("width", [1280, 390])
    def test_hostile_names_stay_text(self, browser: Chromium, hostile_page: Path, width: int) -> None:
        browser.look_at(hostile_page, width)
        for button in (1, 0):  # the second request has nothing but failures
            browser.click(".asked button", button)
        browser.hover("#layers svg", along=0.7)
        assert browser.run("document.title") == "Batch report: results.sqlite"
        assert browser.run("document.images.length") == 0
        assert browser.run("document.scripts.length") == 2
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.problems() == []

    def test_a_broken_bound_is_the_first_thing_to_see(self, browser: Chromium, hostile_page: Path) -> None:
        browser.look_at(hostile_page)
        assert browser.run("document.getElementById('alarm').getBoundingClientRect().top") < 900
        assert "Broken bounds" in browser.run("document.getElementById('alarm').innerText")
