"""The report of a class: a table of its cells, and a page with the pictures of the hard ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, write_text
from hv_utils.serve.pages import shared_style
from hv_utils.studies.readings import HARD, Readings

GROUPS = {
    "both": "Hard for both: fewer than half of the readers are right, and the model is wrong",
    "persons": "Hard for persons alone",
    "model": "Hard for the model alone",
}
DECIMALS = {"seconds": 1}


def write_readings(readings: Readings, out: str | Path) -> tuple[Path, Path]:
    """Write the table of the cells, and beside it the report.

    Parameters
    ----------
    readings : Readings
    out : str or Path
        The table, ending in `.csv`; the report has the same name and ends in `.html`.

    Returns
    -------
    table, report : Path

    Raises
    ------
    HematoVisionError
        For another ending, a report that would overwrite the page, or a place that cannot be
        written.
    """
    out = Path(out)
    report = out.with_suffix(".html")
    if out.suffix.lower() != ".csv":
        raise HematoVisionError(
            f"expected a name ending in .csv for the table, but --out is {out}: "
            "name it as in --out class.csv"
        )
    if report.resolve() == readings.page.path.resolve():
        raise HematoVisionError(
            f"expected another name than that of the page, but the report of --out {out} would "
            f"be written over {readings.page.path}: name it as in --out class.csv"
        )
    with atomic_path(out) as temporary:
        readings.cells.round(4).to_csv(temporary, index=False)
    return out, write_text(report, report_page(readings))


def report_page(readings: Readings) -> str:
    """Return the report: one page that holds everything and asks no server for anything."""
    from jinja2 import Environment

    cells = readings.cells.sort_values(["difficulty", "cell"], ignore_index=True)
    groups = [
        (title, cells[cells["hard_for"] == name].to_dict("records"))
        for name, title in GROUPS.items()
    ]
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    return page.render(
        style=shared_style(),
        lines=readings.text().splitlines(),
        notes=[*readings.notes, *readings.refused],
        groups=[(title, rows) for title, rows in groups if rows],
        pictures=readings.page.pictures,
        tables=[("Readers", readings.readers), ("Cells, the hardest first", cells)],
        about=readings.page.facts["about"],
        hard=f"{100 * HARD:.0f} %",
        shown=_shown,
    )


def _shown(name: str, value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.{DECIMALS.get(name, 2)}f}" if isinstance(value, float) else str(value)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The class against the model</title>
<style>
{{ style | safe }}
main { max-width: 70rem; margin: 0 auto; padding: 0 1rem 3rem; }
main > p, main > ul { max-width: 46rem; margin: .5rem 0; }
h2 { margin-top: 1.5rem; }
.wide { overflow-x: auto; }
.tiles { display: grid; gap: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 9rem), 1fr)); }
.wide th, .wide td { white-space: nowrap; }
.tiles img { width: 100%; display: block; border-radius: 5px; }
@media print { body { background: #fff; color: #000; } .tiles figure { break-inside: avoid; } }
</style>
</head>
<body>
<header><h1>The class against the model</h1><p class="warning">Not for diagnosis.</p></header>
<main>
{% for line in lines %}<p>{{ line[0] | upper }}{{ line[1:] }}.</p>
{% endfor %}
<p>{{ about }}</p>
{% if notes %}<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
<p><em>difficulty</em> is the share of the readers who named a cell rightly: a high one is an easy
cell. <em>discrimination</em> is the point-biserial correlation between naming it rightly and the
share right of all other cells: near 0 it tells nobody apart, below 0 those who are right elsewhere
are wrong here, and its label should be looked at. A cell is hard for persons below {{ hard }}.
Limits are exact ones, 95 %. What was not named in time counts as wrong; for <em>kappa</em> and
<em>seconds</em> (a median) only what was named counts.</p>
{% for title, rows in groups %}
<h2>{{ title }} ({{ rows | length }})</h2>
<div class="tiles">
{% for row in rows %}
<figure><img src="data:image/jpeg;base64,{{ pictures[row.cell - 1] }}"
 alt="Cell {{ row.cell }}, a {{ row.truth }}."><figcaption>Cell {{ row.cell }}:
 {{ row.truth }}. Right: {{ row.right }} of {{ row.readers }}{% if row.commonest and
 row.commonest != row.truth %}, mostly called {{ row.commonest }}{% endif %}. Model:
 {{ row.model }}.</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% for title, table in tables %}
<h2>{{ title }}</h2>
<div class="wide" role="region" aria-label="{{ title }}" tabindex="0">
<table>
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name.replace("_", " ") }}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in table.to_dict("records") %}
<tr>{% for name, value in row.items() %}<td{% if value is number %} class="number"{% endif %}>
{{ shown(name, value) }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
</main>
</body>
</html>
"""
