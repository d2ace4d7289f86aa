"""The book: its order, its prose, its staging, its formulas, and the finished pages."""

import importlib.util
import json
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from fake_run import executed, glue_references, glued_patterns, make_run
from hv_utils.chain import book
from hv_utils.chain.book_check import check_links
from hv_utils.chain.book_stage import api_pages, clean_notebook, notebook_names, stage, toc_files
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.serve.versus import read_versus

BOOK = ROOT / "book"
SECTIONS = [
    "Introduction",
    "Objective",
    "Dataset Description",
    "Tools & Technologies",
    "Preprocessing Pipeline",
    "Model Architecture",
    "Evaluation Strategy",
    "Visual Interpretability (Grad-CAM)",
    "Prediction Pipeline",
    "Key Observations",
    "Challenges",
    "Future Enhancements",
    "Conclusion",
    "References",
]
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]-*.md"))
CLAIM = "0.91"  # what the report claims, and the book tests
WORKED_EXAMPLES = (
    "How wide must it be?",  # exact limits of a proportion
    "An example. For one image",  # correcting for other shares
    "The same fact in the language of medicine.",  # predictive values
    "The first layer is a few hundred",  # the photographs' scale
)
LOCAL = ("file:", "data:", "about:", "blob:", "devtools:", "chrome:", "chrome-error:")


def load_extension():
    path = BOOK / "_ext" / "hematovision_book.py"
    spec = importlib.util.spec_from_file_location("hematovision_book", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ the sources


def test_the_chapters_are_the_sections_of_the_report_in_its_order():
    titles = [path.read_text().splitlines()[0] for path in CHAPTERS]
    assert titles == [f"# {title}" for title in SECTIONS]
    in_toc = [name for name in toc_files(ROOT / "_toc.yml") if re.match(r"book/\d\d-", name)]
    assert in_toc == [f"book/{path.stem}" for path in CHAPTERS]


def test_the_notebooks_sit_under_the_chapters_they_belong_to():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    (report,) = [part for part in parts if part["caption"] == "The report"]
    under = {
        int(chapter["file"][5:7]): [s["file"] for s in chapter.get("sections", [])]
        for chapter in report["chapters"]
    }
    assert {number: files for number, files in under.items() if files} == {
        3: ["notebooks/01_data"],
        5: ["notebooks/02_preprocessing"],
        6: ["notebooks/03_model"],
        7: [
            *("notebooks/04_evaluation", "notebooks/07_leak"),
            *("notebooks/08_ablations", "notebooks/09_audit"),
        ],
        8: ["notebooks/05_gradcam", "notebooks/13_words", "notebooks/15_explanations"],
        9: [
            *("notebooks/06_prediction", "notebooks/11_home_model"),
            *("notebooks/12_laboratories", "notebooks/14_sets"),
            *("notebooks/16_fields", "notebooks/17_red_cells"),
            *("book/bench", "book/classify"),
        ],
        10: ["notebooks/10_claims"],
    }


def test_every_page_of_the_table_of_contents_exists():
    for name in toc_files(ROOT / "_toc.yml"):
        if "*" not in name:
            assert any((ROOT / f"{name}{end}").exists() for end in (".md", ".ipynb")), name


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
class TestChapter:
    def test_opens_with_what_one_learns(self, path):
        blocks = [block for block in path.read_text().split("\n\n") if block.strip()]
        assert blocks[1].startswith("```{admonition} What you will learn")
        learnt = re.findall(r"(?m)^- ", path.read_text().split("```")[1])
        assert len(learnt) >= 2

    def test_holds_no_typed_result(self, path):
        """Scores are fetched; a typed figure must cite its source or belong to a worked example."""
        text = re.sub(r"\{glue:text\}`[^`]*`", "", path.read_text())
        text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL).replace(CLAIM, "the claim")
        for paragraph in re.split(r"\n\s*\n", text):
            if "{cite" not in paragraph and not paragraph.startswith(WORKED_EXAMPLES):
                typed = re.findall(r"\b0\.\d{2,}\b|\b\d+\.\d+\s?%", paragraph)
                assert not typed, f"{typed} in: {paragraph[:200]}"

    def test_is_as_long_as_a_chapter(self, path):
        prose = re.sub(r"(?ms)^```{interactive}.*?^```", "", path.read_text())  # tried, not read
        words = len(prose.split())
        assert 150 <= words <= 1200


def test_the_numbers_that_pages_fetch_are_glued_by_the_notebooks():
    missing = []
    for notebook, key, _ in sorted(glue_references(BOOK)):
        patterns = glued_patterns(ROOT / "notebooks" / f"{notebook}.ipynb")
        if not any(pattern.fullmatch(key) for pattern in patterns):
            missing.append(f"{notebook}::{key}")
    assert not missing


def test_references_carry_no_working_notes():
    text = (BOOK / "references.bib").read_text()
    keys = re.findall(r"(?m)^@\w+\{(\w+),", text)
    assert len(keys) == len(set(keys)) >= 70
    assert not re.search(r"(?m)^\s*(note|annote)\s*=", text)


def test_citations_have_references():
    keys = set(re.findall(r"(?m)^@\w+\{(\w+),", (BOOK / "references.bib").read_text()))
    sources = [*BOOK.rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    for path in sources:
        for cited in re.findall(r"\{cite(?::\w)?\}`([^`]+)`", path.read_text()):
            assert set(cited.replace(" ", "").split(",")) <= keys, f"{cited} in {path.name}"


def test_the_extension_and_settings_are_no_static_files():
    """Jupyter Book makes a script tag of every file in a `_static` folder at the top."""
    assert not (ROOT / "_static").exists()


# ------------------------------------------------------------------ formulas


class TestExtension:
    def test_a_formula_becomes_mathml_with_its_text(self):
        text = load_extension().to_mathml(r"F_1 < 2\frac{PR}{P+R}")
        assert text.startswith("<math ")
        assert "<mfrac>" in text
        assert 'alttext="F_1 &lt; 2\\frac{PR}{P+R}"' in text

    def test_sums_on_a_line_of_their_own_have_limits_above_and_below(self):
        tex = r"\sum_{k=1}^{K} p_k"
        assert "<munderover>" in load_extension().to_mathml(tex, display=True)
        assert "<msubsup>" in load_extension().to_mathml(tex)

    @pytest.mark.parametrize("tex", [r"\nosuchcommand x", r"\frac{"])
    def test_what_cannot_be_converted_is_an_error(self, tex):
        extension = load_extension()
        with pytest.raises(extension.MATH_ERRORS):
            extension.to_mathml(tex)

    def test_every_formula_of_the_book_can_be_converted(self):
        extension = load_extension()
        sources = [path.read_text() for path in BOOK.rglob("*.md")]
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            cells = json.loads(path.read_text())["cells"]
            sources += ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        formulas = [tex for text in sources for tex in re.findall(r"\$\$(.+?)\$\$", text, re.S)]
        assert len(formulas) >= 8
        for tex in formulas:
            assert extension.to_mathml(tex, display=True)

    @pytest.mark.parametrize(
        ("glued", "spec", "shown"),
        [("0.91234", ".2f", "0.91"), ("2487", ",d", "2,487"), ("'unknown'", ".2f", "unknown")],
    )
    def test_glued_numbers_are_formatted_and_words_stay_words(self, glued, spec, shown):
        assert load_extension().format_glued(glued, spec) == shown

    def test_a_number_in_another_form_is_an_error(self):
        with pytest.raises(ValueError, match="float64"):
            load_extension().format_glued("np.float64(0.9)", ".2f")

    def test_docstrings_are_taken_as_they_are_written(self):
        lines = ["Shape (N, *size, 3) of `images`, see {cite:p}`tan2019`."]
        load_extension().read_docstring(None, "function", "f", None, None, lines)
        assert lines == [r"Shape (N, \*size, 3) of ``images``, see :cite:p:`tan2019`."]


# ------------------------------------------------------------------ staging


@pytest.fixture
def project(tmp_path) -> Path:
    """Make a small project: two chapters, one notebook, one module."""
    files = {
        "_config.yml": "title: Small\n",
        "_toc.yml": "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  numbered: 1\n"
        "  chapters:\n  - file: book/01-a\n"
        "    sections:\n    - file: notebooks/01_data\n",
        "book/index.md": "# Small\n\n![a picture](figures/cells.png)\n",
        "book/01-a.md": "# A\n\n{glue:text}`../notebooks/01_data.ipynb::n_photos:d`\n",
        "book/__pycache__/x.pyc": "",
        "hv_utils/images/labels.py": '"""The classes.\n\nMore."""\n',
        "hv_utils/images/__init__.py": '"""Pictures."""\n',
        "hv_utils/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


class TestStage:
    def test_takes_the_executed_notebook_and_the_figures(self, project, tmp_path):
        run = make_run(project / "runs" / "one", project)
        out = stage(run, tmp_path / "stage", project=project)
        names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert names == {
            "_config.yml",
            "_toc.yml",
            "book/index.md",
            "book/01-a.md",
            "book/api/hv_utils.images.md",
            "book/api/modules.md",
            "book/figures/cells.png",
            "book/run.json",
            "notebooks/01_data.ipynb",
        }
        notebook = json.loads((out / "notebooks/01_data.ipynb").read_text())
        assert "papermill" not in notebook["metadata"]
        assert "n_photos" in json.dumps(notebook)
        assert notebook["cells"][0]["source"].startswith("# 1.1 "), "numbered like its chapter"

    def test_touches_only_what_has_changed(self, project, tmp_path):
        run = make_run(project / "runs" / "one", project)
        out = stage(run, tmp_path / "stage", project=project)
        (out / "book" / "old.md").write_text("no longer there")
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
        (project / "book" / "01-a.md").write_text("# A, once more\n")
        stage(run, out, project=project)
        after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
        changed = {path.name for path in after if before[path] != after[path]}
        assert changed == {"01-a.md"}
        assert {path.name for path in set(before) - set(after)} == {"old.md"}

    def test_paths_of_the_machine_do_not_reach_the_book(self, project):
        run = make_run(project / "runs" / "one", project)
        path = run.path("notebooks/01_data.ipynb")
        notebook = json.loads(path.read_text())
        notebook["cells"][-1]["source"] = f"run_dir = '{run.folder}'; x = '{project}/data/a.png'"
        path.write_text(json.dumps(notebook))
        text = clean_notebook(run, "01_data", project=project)
        assert "run_dir = 'runs/one'; x = 'data/a.png'" in text
        assert str(project) not in text

    @pytest.mark.parametrize(
        ("there", "given"),
        [
            ("/home/ann/blood", "/home/ann/cells"),
            ("C:\\Users\\ann\\blood", "C:\\Users\\ann\\cells"),
        ],
    )
    def test_nor_do_those_of_the_machine_that_made_the_run(self, project, there, given):
        run = make_run(project / "runs" / "one", project)
        run.write_json("params.json", {"profile": "demo", "parameters": {"folder": given}})
        path = run.path("notebooks/01_data.ipynb")
        notebook = json.loads(path.read_text())
        sep = "\\" if "\\" in there else "/"
        made = {
            "input": f"notebooks{sep}01_data.ipynb",
            "output": f"runs{sep}two{sep}notebooks{sep}a",
        }
        notebook["metadata"]["papermill"] = {
            f"{name}_path": f"{there}{sep}{below}" for name, below in made.items()
        }
        shown = [
            f"{there}{sep}runs{sep}two{sep}images.csv",
            f"{there}{sep}hv_utils",
            f"{given}{sep}a",
            there.replace("blood", f".cache{sep}a"),
        ]
        notebook["cells"][-1]["source"] = f"{shown!r} " + "; ".join(shown)
        path.write_text(json.dumps(notebook))
        text = clean_notebook(run, "01_data", project=project)
        assert "ann" not in text
        source = json.loads(text)["cells"][-1]["source"]
        assert f"runs/one{sep}images.csv; hv_utils; cells{sep}a; ~{sep}.cache{sep}a" in source

    def test_links_to_solutions_that_are_left_out_are_left_out_too(self, project, tmp_path):
        run = make_run(project / "runs" / "one", project)
        path = run.path("notebooks/01_data.ipynb")
        notebook = json.loads(path.read_text())
        link = "[Solution](../book/solutions/01_data.md)"
        notebook["cells"][0]["source"] = f"Exercise. {link}"
        path.write_text(json.dumps(notebook))
        staged = tmp_path / "stage" / "notebooks" / "01_data.ipynb"
        stage(run, tmp_path / "stage", project=project)
        assert "solutions" not in staged.read_text()
        toc = project / "_toc.yml"
        toc.write_text(toc.read_text() + "- file: book/solutions/01_data\n")
        stage(run, tmp_path / "stage", project=project)
        assert link in staged.read_text()

    def test_a_missing_notebook_is_named(self, project, tmp_path):
        run = make_run(project / "runs" / "one", project)
        run.path("notebooks/01_data.ipynb").unlink()
        with pytest.raises(HematoVisionError, match="01_data"):
            stage(run, tmp_path / "stage", project=project)

    @pytest.mark.parametrize("fault", ["error", "not run", "broken"])
    def test_an_unfinished_notebook_is_refused(self, project, tmp_path, fault):
        run = make_run(project / "runs" / "one", project)
        path = run.path("notebooks/01_data.ipynb")
        notebook = json.loads(path.read_text())
        cell = notebook["cells"][-1]
        if fault == "error":
            cell["outputs"] = [
                {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
            ]
        cell["execution_count"] = None if fault == "not run" else 1
        path.write_text("{" if fault == "broken" else json.dumps(notebook))
        with pytest.raises(HematoVisionError, match="01_data") as error:
            stage(run, tmp_path / "stage", project=project)
        assert "\n" not in str(error.value)

    def test_a_figure_that_no_notebook_makes_is_named(self, project, tmp_path):
        run = make_run(project / "runs" / "one", project)
        run.path("figures/cells.png").unlink()
        with pytest.raises(HematoVisionError, match=r"cells\.png.*book/index\.md"):
            stage(run, tmp_path / "stage", project=project)

    def test_a_figure_that_these_images_do_not_allow_is_told_of(self, project, tmp_path):
        (project / "notebooks").mkdir()
        (project / "notebooks/01_data.ipynb").write_text('run.write_figure("cells.png", figure)')
        index = project / "book/index.md"
        card = ":::{grid-item-card} A\n:img-top: figures/cells.png\n"
        card += ":img-alt: Cells.\n:link: b\n\nB.\n:::"
        index.write_text(f"{index.read_text()}\n{card}\n")
        run = Run.open(project / "runs" / "one")
        executed(project / "none.ipynb", set(), run.path("notebooks/01_data.ipynb"))
        text = (stage(run, tmp_path / "stage", project=project) / "book/index.md").read_text()
        told = "*No picture here: `01_data` draws cells.png"
        assert text.count(told) == 2
        assert "figures/" not in text
        assert "img-" not in text
        assert f":link: b\n\n{told}" in text


def test_every_public_module_is_on_the_api_page_of_its_room():
    package = ROOT / "hv_utils"
    pages = api_pages(package)
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(pages) == {f"hv_utils.{name}.md" for name in rooms} | {"modules.md"}
    for room in rooms:
        row = re.search(rf"\[hv_utils\.{room}\]\(\S+\) \| (.*) \| (.*) \|", pages["modules.md"])
        assert row, room
        assert row[1], f"{room} has no docstring"
        for path in (package / room).glob("[!_]*.py"):
            assert f"automodule:: hv_utils.{room}.{path.stem}\n" in pages[f"hv_utils.{room}.md"]
            assert path.stem in row[2].split(", ")


# ------------------------------------------------------------------ checks of pages


class TestCheckLinks:
    GOOD = '<main><a href="b.html#x">b</a><img src="p.png" alt="A cell"></main>'

    @pytest.fixture
    def pages(self, tmp_path):
        def write(a: str) -> list[str]:
            (tmp_path / "a.html").write_text(f"<html><body>{a}</body></html>")
            (tmp_path / "b.html").write_text('<html><body><p id="x">there</p></body></html>')
            (tmp_path / "p.png").write_bytes(b"")
            return check_links(tmp_path)

        return write

    def test_a_good_page_has_no_fault(self, pages):
        assert pages(self.GOOD + '<a href="https://example.org">a click away</a>') == []

    @pytest.mark.parametrize(
        ("html", "fault"),
        [
            ('<a href="c.html">c</a>', "no such file: c.html"),
            ('<a href="b.html#y">b</a>', "no such anchor: b.html#y"),
            ('<a href="#y">y</a>', "no such anchor: #y"),
            ('<a href="../b.html">out</a>', "no such file: ../b.html"),
            ('<img src="q.png" alt="A cell">', "no such file: q.png"),
            ('<img src="p.png">', "without alternative text: p.png"),
            ('<img src="p.png" alt="_images/p.png">', "without alternative text: p.png"),
            ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn"),
            ('<link rel="stylesheet" href="//fonts.example.org/a.css">', "loads //fonts"),
            ("<style>p{background:url(https://x.example.org/a.png)}</style>", "loads https://x"),
            ('<script>load("https://unpkg.example.org/t.js")</script>', "a script names https://"),
            ("<p>see {cite}`tan2019`</p>", "left as it stands: {cite}"),
        ],
    )
    def test_each_fault_is_found(self, pages, html, fault):
        (found,) = pages(html)
        assert found.startswith("a.html: ")
        assert fault in found

    def test_the_command_lists_faults_and_fails(self, pages, tmp_path, capsys):
        pages('<a href="c.html">c</a>')
        assert book.main([str(tmp_path)]) == 1
        assert "a.html: no such file: c.html" in capsys.readouterr().out
        pages(self.GOOD)
        assert book.main([str(tmp_path)]) == 0

    def test_a_folder_without_pages_is_refused(self, tmp_path):
        with pytest.raises(HematoVisionError, match="hv book"):
            check_links(tmp_path)


# ------------------------------------------------------------------ the build


@pytest.mark.slow
@pytest.mark.xdist_group("book")
class TestBuild:
    def test_builds_with_warnings_as_errors_and_sound_links(self, built):
        _, page, _ = built
        assert page.parts[-3:] == ("_build", "html", "index.html")
        assert check_links(page.parent) == []

    def test_each_chapter_and_notebook_has_its_page(self, built):
        project, page, _ = built
        for name in toc_files(project / "_toc.yml"):
            if "*" not in name:
                assert (page.parent / f"{name}.html").exists(), name

    def test_no_page_shows_a_path_of_this_machine(self, built):
        project, page, _ = built
        pages = {path: path.read_text() for path in page.parent.rglob("*.html")}
        assert len(pages) > 40
        assert [path.name for path, text in pages.items() if str(project) in text] == []

    def test_formulas_are_mathml_and_no_page_needs_a_script_for_them(self, built):
        text = (built[1].parent / "book" / "06-model-architecture.html").read_text()
        assert "<math " in text
        scripts = " ".join(re.findall(r"<script[^>]*>", text)).lower()
        assert "mathjax" not in scripts
        assert "require" not in scripts

    def test_only_the_page_that_classifies_loads_its_scripts(self, built):
        html = built[1].parent
        loading = [p.name for p in html.rglob("*.html") if "classify-facts.js" in p.read_text()]
        assert loading == ["classify.html"]
        text = (html / "book" / "classify.html").read_text()
        assert "classify-model" not in text, "loaded with the first image, not with the page"
        assert (html / "_static" / "classify" / "classify-model-travelling.js").is_file()

    def test_the_page_against_the_model_is_linked_and_stands_beside_the_others(self, built):
        html = built[1].parent
        text = (html / "book" / "versus.html").read_text()
        assert 'href="../_static/versus/versus.html">Name 16 cells</a>' in text
        assert "none of them is here" in text
        assert 0 < (html / "_static" / "versus" / "versus.html").stat().st_size < 6e6
        assert len(read_versus(html / "_static" / "versus" / "versus.html").truth) == 16

    def test_a_second_build_with_nothing_changed_takes_no_time(self, built, capsys):
        project, page, run = built
        stamp, started = page.stat().st_mtime_ns, time.perf_counter()
        assert book.build(run, project=project) == page
        assert time.perf_counter() - started < 5
        assert page.stat().st_mtime_ns == stamp
        assert "the book: up to date" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["shipped/x.onnx.json", "serve/static/x.js"])
def test_a_new_model_or_script_renews_the_book(project, tmp_path, name):
    run = make_run(project / "runs" / "one", project)
    folder = stage(run, tmp_path / "stage", project=project)
    before = book.fingerprint(folder, project)
    (project / "hv_utils" / name).parent.mkdir(parents=True)
    (project / "hv_utils" / name).write_text("{}")
    after = book.fingerprint(folder, project)
    assert (before["engine"], before["content"] != after["content"]) == (after["engine"], True)


@pytest.mark.slow
def test_new_results_reach_the_prose_and_faults_leave_the_book_in_place(project, capsys):
    for name in ("_ext", "_static"):
        shutil.copytree(BOOK / name, project / "book" / name, dirs_exist_ok=True)
    shutil.copy(BOOK / "references.bib", project / "book")
    shutil.copy(ROOT / "_config.yml", project)
    run = make_run(project / "runs" / "one", project)
    chapter = book.build(run, project=project).parent / "book" / "01-a.html"
    assert ">1</span>" in chapter.read_text()

    notebook = run.path("notebooks/01_data.ipynb")
    cell = '"application/papermill.record/text/plain": "1"'
    notebook.write_text(notebook.read_text().replace(cell, cell.replace('"1"', '"7"')))
    stamp = project / "_build" / "work" / "stamp.json"
    before = stamp.read_text()
    stamp.write_text(before[:20])
    book.build(run, project=project)
    assert capsys.readouterr().err.count("stamp.json was damaged") == 1
    assert json.loads(stamp.read_text())["engine"] == json.loads(before)["engine"]
    assert ">7</span>" in chapter.read_text()

    page_with_fault = project / "book" / "index.md"
    page_with_fault.write_text("# Small\n\n[nowhere](no-such-page.md)\n")
    with pytest.raises(HematoVisionError, match=r"index\.md.*no-such-page") as error:
        book.build(run, project=project)
    assert "book.log" in str(error.value)
    assert ">7</span>" in chapter.read_text()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.xdist_group("book")
def test_no_page_asks_another_host_for_anything(built, browser):
    """Open every page in Chromium from disk, and look at each request that it makes."""
    html = built[1].parent
    pages = [page for page in sorted(html.rglob("*.html")) if "_static" not in page.parts]
    browser.open(pages[0].as_uri())  # from blank to a file: some events get lost
    asked = {str(page.relative_to(html)): browser.open(page.as_uri()) for page in pages}
    assert len(pages) > 40
    foreign = {p: [url for url in urls if not url.startswith(LOCAL)] for p, urls in asked.items()}
    assert not {page: urls for page, urls in foreign.items() if urls}
    assert min(map(len, asked.values())) > 3, "each page loads its own style and scripts"


def test_the_stand_in_for_a_run_is_marked_as_executed(tmp_path):
    """Guard the stand-in: a notebook that it did not execute would prove nothing."""
    out = tmp_path / "01_data.ipynb"
    executed(ROOT / "notebooks" / "01_data.ipynb", {"n_photos"}, out)
    cells = [c for c in json.loads(out.read_text())["cells"] if c["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert notebook_names(ROOT / "_toc.yml")[0] == "01_data"
