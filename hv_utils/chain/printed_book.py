"""The book on paper: its pages in one, with the code left out, printed to a PDF."""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from hv_utils import __version__
from hv_utils.chain.book_stage import NOT_DIAGNOSIS, toc_files
from hv_utils.chain.printer import print_page
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import write_text
from hv_utils.ground.runs import PROJECT_ROOT

# The reference of the package, and a page that is nothing without its script.
LEFT_OUT = ("book/api/", "book/classify")
ON_SCREEN_ONLY = (
    "script, link, button, iframe, form, a.headerlink, .hv-download, .hv-static details, "
    ".cell_input, details.hide, .toctree-wrapper"
)
STYLES = re.compile(r"pydata|sphinx-book-theme|theme\.css|sphinx-design|mystnb|hematovision\.css")
PANDAS = re.compile(r"^T_")  # what pandas styles by their ids
LARGE = 120_000  # bytes; larger pictures are photographs, which JPEG holds in a tenth
QUALITY = 82
PAGE = """<!doctype html>
<html lang="en" data-theme="light"><meta charset="utf-8"><title>HematoVision</title>
{styles}
<style>
@page {{ size: A4; margin: 18mm 17mm 20mm;
  @bottom-center {{ content: counter(page); font: 9pt sans-serif; color: #444; }} }}
@page :first {{ @bottom-center {{ content: ""; }} }}
html, body {{ font-size: 10pt; line-height: 1.4; background: #fff; }}
body {{ display: block; min-height: 0; }}
article, .title {{ break-before: page; }}
.title:first-child {{ break-before: auto; padding-top: 30%; }}
.title ul {{ list-style: none; padding-left: 1.4em; margin: 0; }}
.title a {{ text-decoration: none; }}
h1 {{ margin-top: 0; font-size: 2em; }}
h2 {{ margin: 1.4em 0 0.5em; font-size: 1.4em; }}
h3 {{ margin: 1.2em 0 0.4em; font-size: 1.15em; }}
p, li {{ orphans: 2; widows: 2; }}
.bd-article .hv-static {{ display: block; }}
.bd-article pre {{ font-size: 8.5pt; }}
.bd-article table {{ font-size: 8.5pt; width: auto; }}
.bd-article :is(th, td) {{ white-space: normal !important; }}
.bd-article :is(td, th):not(:has(p, li)) {{ padding: 0.15em 0.5em; }}
.bd-article img {{ max-height: 210mm; }}
.bd-article .sd-card-img-top {{ height: auto; max-height: 60mm; }}
.bd-article .cell_output, .pst-scrollable-table-container {{ overflow: visible !important; }}
.bd-article .sd-tab-content {{ display: block !important; }}
.bd-article .sd-tab-set > input {{ display: none; }}
</style>
<div class="title"><h1>HematoVision</h1>
<p>Version {version}, printed from a run of its notebooks. {foot}</p>
<p>Left out here: code, answers to what the pages ask, the reference of the package, and what works
on a screen alone.</p></div>
<div class="title"><h2>Contents</h2>{contents}</div>
{articles}
<script>
for (const table of document.querySelectorAll("table")) {{
  const room = table.parentElement.clientWidth;
  if (table.offsetWidth > room) table.style.zoom = room / table.offsetWidth;
}}
</script>
</html>
"""


def print_book(html: Path, pdf: str | Path, *, program: str, project: Path = PROJECT_ROOT) -> Path:
    """Print a built book to one file.

    Parameters
    ----------
    html : Path
        Folder of the built book.
    pdf : str or Path
        The file.
    program : str
        See `printer.browser`.
    project : Path
        Folder that holds `_toc.yml`.

    Returns
    -------
    Path
        `pdf`.

    Raises
    ------
    HematoVisionError
        Where the folder holds no book, or the browser fails.
    """
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "book.html"
        write_text(page, one_page(html, Path(made), project=project))
        return print_page(page, Path(pdf).expanduser(), program=program)


def one_page(html: Path, folder: Path, *, project: Path = PROJECT_ROOT) -> str:
    """Return the pages of a book as one, in the order of its table of contents.

    Parameters
    ----------
    html : Path
        Folder of the built book.
    folder : Path
        Takes the pictures that are made smaller.
    project : Path
        Folder that holds `_toc.yml`.
    """
    names = [name for name in _names(project) if not name.startswith(LEFT_OUT)]
    articles, titles, styles = {}, {}, ""
    for name in names:
        path = html / f"{name}.html"
        if not path.is_file():
            raise HematoVisionError(
                f"expected a built book, but {path} is not there: build it first with `hv book`"
            )
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        styles = styles or _styles(page, path, html)
        article = page.select_one("article.bd-article")
        for tag in article.select(ON_SCREEN_ONLY):
            tag.decompose()
        _link_within(article, name, names)
        _place_pictures(article, path, folder)
        article["id"] = _slug(name)
        titles[name] = article.find("h1").get_text()
        articles[name] = str(article)
    return PAGE.format(
        styles=styles,
        version=__version__,
        foot=NOT_DIAGNOSIS,
        contents=_contents(project, titles),
        articles="\n".join(articles.values()),
    )


def _names(project: Path) -> list[str]:
    return [name for name in toc_files(project / "_toc.yml") if "*" not in name]


def _slug(name: str) -> str:
    return name.replace("/", "--")


def _styles(page: BeautifulSoup, path: Path, html: Path) -> str:
    """Return the links to the book's own styles, as they lie on the disk."""
    found = []
    for tag in page.select('link[rel="stylesheet"]'):
        file = (path.parent / urlsplit(tag["href"]).path).resolve()
        if STYLES.search(file.name) and file.is_relative_to(html.resolve()):
            found.append(f'<link rel="stylesheet" href="{file.as_uri()}">')
    return "\n".join(found)


def _link_within(article: Tag, name: str, names: list[str]) -> None:
    """Let links lead to places in the one page; to what is not there none lead."""
    for tag in article.find_all(id=True):
        if not PANDAS.match(tag["id"]):
            tag["id"] = f"{_slug(name)}--{tag['id']}"
    for tag in article.find_all("a", href=True):
        parts = urlsplit(tag["href"])
        if parts.scheme or parts.netloc:
            continue
        target = name
        if parts.path:
            joined = posixpath.join(posixpath.dirname(name), unquote(parts.path))
            target = str(PurePosixPath(posixpath.normpath(joined)).with_suffix(""))
        if target in names and PurePosixPath(parts.path).suffix in ("", ".html"):
            anchor = unquote(parts.fragment)
            tag["href"] = f"#{_slug(target)}" + (f"--{anchor}" if anchor else "")
        else:
            tag.unwrap()


def _place_pictures(article: Tag, path: Path, folder: Path) -> None:
    """Name pictures by where they lie, large ones in a smaller copy."""
    from PIL import Image

    for tag in article.find_all("img"):
        if urlsplit(tag["src"]).scheme:
            continue
        file = (path.parent / unquote(urlsplit(tag["src"]).path)).resolve()
        if file.suffix == ".png" and file.stat().st_size > LARGE:
            smaller = folder / f"{file.stem}.jpg"
            if not smaller.exists():
                with Image.open(file) as picture:
                    ground = Image.new("RGBA", picture.size, "white")
                    ground.alpha_composite(picture.convert("RGBA"))
                    ground.convert("RGB").save(smaller, quality=QUALITY)
            file = smaller
        tag["src"] = file.as_uri()


def _contents(project: Path, titles: Mapping[str, str]) -> str:
    """Return the table of contents as nested lists."""
    import yaml

    def walk(nodes: list[dict]) -> Iterator[str]:
        for node in nodes:
            if (name := node.get("file")) in titles:
                link = f'<a href="#{_slug(name)}">{escape(titles[name])}</a>'
                yield f"<li>{link}{listed(node.get('sections', []))}</li>"

    def listed(nodes: list[dict]) -> str:
        items = "".join(walk(nodes))
        return f"<ul>{items}</ul>" if items else ""

    toc = yaml.safe_load((project / "_toc.yml").read_text(encoding="utf-8"))
    parts = [f"<h3>{escape(p['caption'])}</h3>{listed(p['chapters'])}" for p in toc["parts"]]
    return "".join(parts)
