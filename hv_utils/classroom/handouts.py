"""The handouts: one page a lesson, to be written on, without a result.

Question and wrap-up come from the lesson's page and the meaning of words from the glossary. Which
words, which picture and which table stands at the head of the lesson's slides.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import Any

from hv_utils.chain.book_stage import NOT_DIAGNOSIS
from hv_utils.classroom.decks import Deck, read_deck
from hv_utils.classroom.lessons import definitions, lesson_names, sentences
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import write_text
from hv_utils.ground.runs import PROJECT_ROOT

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
@page {{ size: A4; margin: 13mm 16mm; }}
body {{ max-width: 178mm; margin: 0 auto; font: 10.5pt/1.4 sans-serif; color: #111; }}
@media screen {{ body {{ padding: 1rem; }} }}
h1 {{ margin: 0; font-size: 17pt; color: #5b3b87; }}
h2 {{ margin: 4mm 0 1.5mm; font-size: 11.5pt; color: #5b3b87; }}
p {{ margin: 1mm 0; }}
.who {{ color: #444; }}
.question {{ margin: 3mm 0; padding: 2mm 4mm; border-left: 1mm solid #5b3b87; background: #f6f3fa;
  font-size: 12pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.line {{ height: 8mm; border-bottom: 0.3mm solid #999; }}
figure {{ margin: 3mm 0; text-align: center; }}
figure img {{ max-width: 100%; max-height: 72mm; }}
figcaption {{ font-size: 9.5pt; color: #333; }}
svg {{ width: 100%; height: auto; }}
dl {{ columns: 2; column-gap: 8mm; margin: 0; font-size: 9.5pt; }}
dt {{ font-weight: bold; break-after: avoid; }}
dd {{ margin: 0 0 1.2mm; break-inside: avoid; }}
.sheet {{ overflow-x: auto; }}
table {{ width: 100%; table-layout: fixed; border-collapse: collapse; font-size: 9.5pt; }}
th, td {{ border: 0.3mm solid #999; padding: 0.8mm 2mm; text-align: left; font-weight: normal; }}
thead th {{ font-weight: bold; vertical-align: bottom; }}
tbody tr {{ height: 10mm; }}
.end {{ margin-top: 4mm; padding: 1.5mm 4mm; border: 0.3mm solid #999; transform: rotate(180deg);
  font-size: 9.5pt; }}
.foot {{ font-size: 8.5pt; color: #444; }}
</style>
<h1>{title}</h1>
<p class="who">Name: _______________________________ &nbsp; Date: _______________</p>
<p class="question">{question}</p>
<div class="line"></div><div class="line"></div>
<figure>{picture}<figcaption>{caption}</figcaption></figure>
<h2>Words</h2>
<dl>{words}</dl>
<h2>{table_caption}</h2>
<div class="sheet"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="foot">At the end of the lesson turn the page round. {foot}</p>
<div class="end">{end}</div>
</html>
"""
STEPS = 10  # parts of a line from 0 to 1


def write_handouts(
    folder: Path, sheets: Mapping[str, Any], *, project: Path = PROJECT_ROOT
) -> list[Path]:
    """Write a page to print for each lesson.

    Parameters
    ----------
    folder : Path
        Is made.
    sheets : mapping of str to drawn.paper.Sheet
        The drawn pictures by their names.
    project : Path
        Folder that holds `book/`.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    HematoVisionError
        Where a deck names a picture or a word that there is not.
    """
    pages, images = [], {path.name: path for path in (project / "book" / "images").iterdir()}
    for name in lesson_names(project):
        deck = read_deck(name, project=project)
        pages.append(folder / f"{name}.html")
        write_text(pages[-1], handout(deck, definitions(project)))
        figure = deck.handout["figure"]
        if sheet := figure.get("sheet"):
            _need(sheet, sheets, "a sheet", deck)
            (folder / f"{sheet}.png").write_bytes(sheets[sheet].png)
        elif image := figure.get("image"):
            _need(image, images, "an image", deck)
            shutil.copy(images[image], folder / image)
    return pages


def handout(deck: Deck, meanings: Mapping[str, str]) -> str:
    """Return the handout of a lesson as an HTML page.

    Parameters
    ----------
    deck : Deck
    meanings : mapping
        The words of the glossary.

    Raises
    ------
    HematoVisionError
        Where a part is missing, or the glossary lacks a word.
    """
    about, lesson = deck.handout, deck.lesson
    try:
        figure, table, terms = about["figure"], about["table"], about["terms"]
        head, rows = table["head"], table["rows"]
        caption, table_caption = figure["caption"], table["caption"]
        picture = _picture(figure)
    except (KeyError, TypeError) as error:
        raise HematoVisionError(
            f"expected terms, figure and table at the head of book/slides/{lesson.name}.md, but "
            f"{error} is missing there: see the other decks"
        ) from error
    for term in terms:
        _need(term, meanings, "a word of the glossary", deck)
    blank = "<td></td>" * (len(head) - 1)
    return PAGE.format(
        title=escape(lesson.title),
        question=_html(lesson.question),
        picture=picture,
        caption=_html(caption),
        words="".join(f"<dt>{escape(t)}</dt><dd>{_html(meanings[t])}</dd>" for t in terms),
        table_caption=_html(table_caption),
        head="".join(
            f'<th scope="col">{_html(text)}</th>' if text else "<td></td>" for text in head
        ),
        rows="".join(f'<tr><th scope="row">{_html(row)}</th>{blank}</tr>' for row in rows),
        end=" ".join(map(_html, sentences(lesson.wrap_up))),
        foot=NOT_DIAGNOSIS,
    )


def _html(text: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt().renderInline(text)


def _picture(figure: Mapping[str, Any]) -> str:
    alt = escape(figure["alt"])
    if "scale" in figure:
        return _scales(figure["scale"], alt)
    source = figure["image"] if "image" in figure else f"{figure['sheet']}.png"
    return f'<img src="{escape(source)}" alt="{alt}">'


def _scales(names: list[str], alt: str) -> str:
    """Draw a line from 0 to 1 for each name, to mark a bet on."""
    left, right, step = 30, 670, 70
    parts = []
    for number, name in enumerate(names):
        y = 45 + number * step
        parts.append(f'<text x="{left}" y="{y - 18}" font-weight="bold">{escape(name)}</text>')
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#333" stroke-width="1.5"/>')
        for tick in range(STEPS + 1):
            x = left + (right - left) * tick / STEPS
            parts.append(f'<path d="M{x} {y - 5}V{y + 5}" stroke="#333"/>')
            label = f"{tick / STEPS:g}"
            parts.append(f'<text x="{x}" y="{y + 20}" text-anchor="middle">{label}</text>')
    size = f'viewBox="0 0 700 {step * len(names) + 5}" font-family="sans-serif" font-size="13"'
    return f'<svg role="img" aria-label="{alt}" {size}>{"".join(parts)}</svg>'


def _need(name: str, there: Collection[str], what: str, deck: Deck) -> None:
    if name not in there:
        raise HematoVisionError(
            f"expected {what} at the head of book/slides/{deck.lesson.name}.md, but got {name}, "
            f"which is none of {', '.join(sorted(there))}: mend the page"
        )
