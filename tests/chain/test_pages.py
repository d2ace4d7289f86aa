"""The finished pages: for screen readers, in the dark, on a phone, on paper, and to try."""

import importlib.util
import json
import re
import time
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup

from conftest import ROOT

PIECES = {
    "quiz": "01-introduction",
    "leak": "07-evaluation-strategy",
    "bag": "07-evaluation-strategy",
    "threshold": "09-prediction-pipeline",
    "prevalence": "11-challenges",
}
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
STILL = "<style>* { transition: none !important }</style>"
DARK = f"document.head.insertAdjacentHTML('beforeend', '{STILL}');"
DARK += "document.documentElement.dataset.theme = 'dark'"
SAME = """{ const seen = new Set();  // elements that look like one before them, by their classes
    for (const leaf of document.querySelectorAll("body :not(:has(*))")) {
        let look = "";
        for (let at = leaf; at; at = at.parentElement)
            look += `${at.tagName} ${at.getAttribute("class")} ${at.rowIndex % 2}|`;
        leaf.toggleAttribute("data-same", seen.has(look));
        seen.add(look);
    } }"""
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("book")]


@pytest.fixture(scope="module")
def html(built):
    return built[1].parent


@pytest.fixture(scope="module")
def pages(html):
    """Every page, parsed."""
    paths = [path for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]
    return {
        str(path.relative_to(html)): BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in paths
    }


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ markup and downloads


@pytest.mark.parametrize(
    ("theme", "mended"),
    [
        (
            '<a class="reference internal" href="a.html">3. Data</a><details><summary>',
            '<summary aria-label="Sections of 3. Data">',
        ),
        ("<tr><th></th><th>a</th></tr>", "<tr><td></td><th>a</th></tr>"),
        ('<th class="blank level0" >&nbsp;</th>', '<td class="blank level0" >&nbsp;</td>'),
        ('<div class="citation" role="doc-biblioentry">', 'role="listitem"'),
    ],
)
def test_what_the_theme_writes_is_mended(theme, mended):
    assert mended in load("hematovision_pages").mend(theme)


def test_names_headers_and_landmarks_are_there_on_every_page(pages):
    faults = []
    for name, page in pages.items():
        for summary in page.find_all("summary"):
            if not (summary.get("aria-label") or summary.get_text(strip=True)):
                faults.append(f"{name}: a summary without a name")
        for head in page.find_all("th"):
            if not head.get_text(strip=True):
                faults.append(f"{name}: an empty header")
        if page.find(id="pst-primary-sidebar") and not page.select("#pst-primary-sidebar[role]"):
            faults.append(f"{name}: the side bar is no landmark")
        if page.select('[role="doc-biblioentry"]'):
            faults.append(f"{name}: a role that is no more")
    assert not faults


def test_the_download_button_gives_executed_notebooks_and_no_source(pages, html):
    for name, page in pages.items():
        links = [link["href"] for link in page.select(".dropdown-download-buttons a")]
        assert not [link for link in links if not link.endswith(".ipynb")], name
        for link in links:
            notebook = json.loads((html / name).parent.joinpath(unquote(link)).read_text())
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            assert all(cell["execution_count"] for cell in code)
        if name.startswith("notebooks/"):
            assert len(links) == 1, name
    chapter = pages["book/07-evaluation-strategy.html"]
    assert len(chapter.select(".dropdown-download-buttons a")) == 4, "those of its sections"


def test_only_pages_with_a_piece_load_its_script(pages):
    for name, page in pages.items():
        loads = bool(page.find("script", src=re.compile(r"hematovision\.js")))
        assert loads == bool(page.select(".hv-piece")), name
    for piece, chapter in PIECES.items():
        assert pages[f"book/{chapter}.html"].select(f'[data-piece="{piece}"] .hv-static *')


# ------------------------------------------------------------------ in a browser


def visible(browser, selector: str) -> bool:
    return browser.js(f"!!document.querySelector({selector!r})?.checkVisibility()")


def go_to(browser, html, piece: str) -> None:
    """Open a piece's page, and put the keyboard just before the piece's first control."""
    browser.look()
    browser.open((html / "book" / f"{PIECES[piece]}.html").as_uri())
    browser.js(
        f"""(() => {{ const place = document.querySelector('[data-piece={piece}] .hv-live');
        place.tabIndex = -1; place.scrollIntoView(); place.focus(); }})()"""
    )


def says(browser, piece: str) -> str:
    return browser.js(f"document.querySelector('[data-piece={piece}] [role=status]').textContent")


def focused(browser) -> str:
    """Return the label or the words of what the keyboard is on."""
    return browser.js(
        "document.activeElement.labels?.[0]?.textContent || document.activeElement.textContent"
    )


def numbers(text: str) -> list[float]:
    return [float(word.replace(",", "")) for word in re.findall(r"\d[\d,]*\.?\d*", text)]


@pytest.mark.browser
@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_shows_its_table_where_no_script_runs(browser, html, piece):
    browser.look()
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((html / "book" / f"{PIECES[piece]}.html").as_uri())
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert visible(browser, f"[data-piece={piece}] .hv-static :is(table, img)")
    assert not visible(browser, f"[data-piece={piece}] .hv-live")


@pytest.mark.browser
class TestByKeyboard:
    def test_name_the_cell(self, browser, html):
        go_to(browser, html, "quiz")
        cells = browser.js(
            "JSON.parse(document.querySelector('[data-piece=quiz] script').textContent).cells"
        )
        kinds = sorted({cell["label"] for cell in cells})
        browser.press("Tab")
        for cell in cells:  # the first half of the kinds is named right, the others never
            assert focused(browser) == kinds[0]
            name = kinds.index(cell["label"]) if cell["label"] in kinds[:2] else 0
            browser.press(*["Tab"] * name, "Enter")
            told = says(browser, "quiz")
            assert f"drawn as {cell['label']}" in told
            assert f"The model says {cell['predicted']}" in told
            browser.press("Enter")  # the keyboard stands on what comes next
        mine = sum(cell["label"] in kinds[:2] for cell in cells)
        models = sum(cell["label"] == cell["predicted"] for cell in cells)
        n = len(cells)
        assert f"you have {mine} of {n}, the model {models} of {n}." in told
        assert "Cell 1 of" in browser.js("document.querySelector('.hv-live p').textContent")

    def test_the_threshold(self, browser, html):
        go_to(browser, html, "threshold")
        browser.press("Tab", "ArrowRight")  # from the validation to the test cells
        browser.press("Tab", "Home")
        assert focused(browser) == "Answer only from a confidence of"
        answered, total, *_ = numbers(says(browser, "threshold"))
        assert answered == total == 96, "everything is answered at 0"
        browser.press("End", *["ArrowLeft"] * 20)
        value = browser.js("document.activeElement.getAttribute('aria-valuetext')")
        assert value == "0.80"
        fewer, total, share, right, *_ = numbers(says(browser, "threshold"))
        assert fewer < answered
        assert round(100 * fewer / total) == share
        assert right <= fewer
        browser.press("Tab", "Enter")  # back to the run's own choice
        assert numbers(says(browser, "threshold"))[0] > fewer

    def test_the_predictive_values(self, browser, html):
        go_to(browser, html, "prevalence")
        assert "right in 86 %" in says(browser, "prevalence")
        browser.press("Tab", "Tab", "Tab", "Tab", "Tab", " ")
        assert focused(browser) == "healthy blood: 2.2 %"
        told = says(browser, "prevalence")
        assert "22 are eosinophils: 20 are found, 2 missed" in told
        assert "right in 29 %" in told
        assert "99.8 %" in told
        drawn = "document.querySelectorAll('[data-piece=prevalence] .hv-picture *').length"
        assert browser.js(drawn) == 1000

    def test_the_bag(self, browser, html):
        go_to(browser, html, "bag")
        browser.press("Tab", "Tab", "Tab", "Enter")
        assert focused(browser) == "Draw 200 times"
        assert "200 draws" in says(browser, "bag")
        browser.js("document.querySelector('[data-piece=bag] input').focus()")
        browser.press("Home")
        assert "Nothing drawn" in says(browser, "bag")
        browser.press("Tab", "Enter")
        assert "The last draw of 3 cells" in says(browser, "bag")
        browser.press("Tab", "Enter")
        kept = browser.js(
            "[...document.querySelectorAll('.hv-live tbody tr')].map((row) => row.innerText)"
        )
        wide = {int(numbers(row)[0]): numbers(row)[-1] for row in kept}
        assert set(wide) == {3, 16}
        assert wide[3] > wide[16], "fewer cells, a wider interval"
        published = browser.js(
            "[...document.querySelectorAll('[data-piece=bag] .hv-static tr')].at(-1).innerHTML"
        )
        assert wide[16] == pytest.approx(numbers(re.sub("<[^>]*>", " ", published))[-1], abs=0.1)

    def test_the_leak(self, browser, html):
        go_to(browser, html, "leak")
        cells, images, _, tested, leaking, _ = numbers(says(browser, "leak"))
        assert (cells, images, tested) == (20, 100, 20)
        assert leaking > 15
        browser.press("Tab", "ArrowRight")
        assert focused(browser) == "cell by cell"
        assert numbers(says(browser, "leak"))[3:5] == [20, 0]
        browser.press("ArrowLeft", "Tab", "Home")
        assert numbers(says(browser, "leak"))[4] == 0, "single images have no siblings"
        browser.press("Tab", "Enter")
        assert focused(browser) == "Deal again"


@pytest.mark.browser
def test_search_from_disk_shows_excerpts_and_chapters_first(browser, html):
    browser.look()
    browser.open((html / "search.html").as_uri() + "?q=leak")
    for _ in range(100):
        done = browser.js("document.querySelector('.search-summary')?.textContent || ''")
        if "finished" in done:
            break
        time.sleep(0.2)
    time.sleep(1)
    found = browser.js(
        "[...document.querySelectorAll('ul.search > li')].map((li) =>"
        " [li.querySelector('a').getAttribute('href'), li.querySelector('p')?.textContent || ''])"
    )
    reference = ["/api/" in address for address, _ in found]
    assert reference == sorted(reference), "the package's reference comes last"
    assert reference.count(False) > 5
    excerpts = [text for address, text in found if "/api/" not in address]
    assert sum("leak" in text.lower() for text in excerpts) >= 0.8 * len(excerpts)


@pytest.mark.browser
@pytest.mark.parametrize("page", ["book/07-evaluation-strategy", "notebooks/04_evaluation"])
def test_nothing_is_cut_off_at_400_pixels(browser, html, page):
    browser.look(width=400)
    browser.open((html / f"{page}.html").as_uri())
    assert browser.js("document.documentElement.scrollWidth") <= 400
    cut = "[...document.querySelectorAll('div.math')].filter((m) => m.scrollWidth > m.clientWidth)"
    assert browser.js(f"{cut}.length") == 0
    assert browser.js("document.querySelectorAll('div.math').length") > 0


@pytest.mark.browser
def test_print_cuts_no_code_and_shows_the_tables_of_pieces(browser, html):
    browser.look(width=700)
    browser.open((html / "notebooks" / "04_evaluation.html").as_uri())
    browser.call("Emulation.setEmulatedMedia", media="print")
    cut = "[...document.querySelectorAll('pre')].filter((p) => p.scrollWidth > p.clientWidth + 1)"
    assert browser.js(f"{cut}.length") == 0
    browser.open((html / "book" / "11-challenges.html").as_uri())
    assert visible(browser, ".hv-static table")
    assert not visible(browser, ".hv-live")
    browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.browser
def test_axe_finds_no_violation_on_any_page(browser, html, pages):
    """Run axe-core over every kind of page, and its rule on contrast in both themes.

    One page of the package's reference and one solution stand for the others, which are written
    alike. What is the same on all pages is read on one, and of what looks the same on a page the
    contrast is measured once: it takes axe-core minutes otherwise.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix build/axe axe-core")
    axe = AXE.read_text("utf-8")

    def violations(where: str, **options) -> list[str]:
        options = json.dumps({"resultTypes": ["violations"], **options})
        told = "v.id + ': ' + v.nodes.map((node) => node.target).join(' ')"
        run = f"axe.run({where}, {options}).then((found) => found.violations.map((v) => {told}))"
        return browser.js(run)

    contrast = {"runOnly": ["color-contrast"]}
    others = {"rules": {"color-contrast": {"enabled": False}}}
    faults, where = {}, "document"
    browser.look()
    for name in pages:
        alike = name.startswith(("book/api/hv_utils.", "book/solutions/0"))
        if alike and name not in (
            "book/api/hv_utils.scores.html",
            "book/solutions/04_evaluation.html",
        ):
            continue
        browser.open((html / name).as_uri())
        browser.js(f"{axe};{SAME}")
        found = violations(where, **others) + violations("{exclude: '[data-same]'}", **contrast)
        browser.js(DARK)
        found += [f"dark: {v}" for v in violations("{exclude: '[data-same]'}", **contrast)]
        faults[name], where = found, "{exclude: '.bd-sidebar-primary'}"
    assert not {name: found for name, found in faults.items() if found}
