"""What a sweep found: a table of its runs, means over seeds with intervals, a page that compares.

A mean's interval (Student's t) tells how well these seeds fix the mean over all seeds. It takes
each run's score as exact; how far that score can be trusted, with the cells at hand, is the run's
own interval, beside it in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.stats import t as student

from hv_utils.ground.files import atomic_path, write_text

SEED = "seed"
SCORES = {
    "macro_f1_by_cell": ("per_cell", "macro_f1"),
    "accuracy_by_cell": ("per_cell", "accuracy"),
    "macro_f1": ("macro_f1",),
    "accuracy": ("accuracy",),
}
FIRST = next(iter(SCORES))
WIDTH, LINE, LEFT, RIGHT = 640, 26, 170, 24  # of the picture, in its own units


class Ended(Protocol):
    """A point of a sweep that has ended, such as `sweep.Outcome`."""

    point: Any
    error: str
    seconds: float
    metrics: Mapping[str, Any] | None


def sweep_table(outcomes: Sequence[Ended]) -> pd.DataFrame:
    """Return a row for each run: its parameters, scores, its own interval, what went wrong.

    Parameters
    ----------
    outcomes : sequence
        Each with `point` (`name` and `varied`), `error`, `seconds` and `metrics`.

    Returns
    -------
    pandas.DataFrame
        `run`, the parameters that vary (text), the scores (0 to 1, NaN where there is none), `low`
        and `high` of the first score, `error`.
    """
    rows = []
    for one in outcomes:
        row = {"run": one.point.name, **one.point.varied}
        row |= {name: _found(one.metrics, *keys) for name, keys in SCORES.items()}
        *where, score = SCORES[FIRST]
        for end in ("low", "high"):
            row[end] = _found(one.metrics, *where, "intervals", score, end)
        rows.append({**row, "error": one.error})
    return pd.DataFrame(rows)


def _found(value: Any, *keys: str) -> float:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float("nan") if value is None else float(value)


def sweep_means(table: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return the mean of each score over the seeds, with its interval.

    Parameters
    ----------
    table : pandas.DataFrame
        From `sweep_table`.
    level : float
        Of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row for each setting of the parameters but the seed, and each score: `n` runs that have
        it, `mean`, `sd`, `low`, `high`; NaN where one run cannot tell.
    """
    names = list(table.columns[1 : list(table.columns).index(FIRST)])
    others = [name for name in names if name != SEED]
    groups = table.groupby(others, sort=False) if others else [((), table)]
    rows = []
    for setting, group in groups:
        for score in SCORES:
            values = group[score].dropna().to_numpy()
            rows.append(
                {**dict(zip(others, setting, strict=True)), "score": score}
                | mean_interval(values, level=level)
            )
    return pd.DataFrame(rows)


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> dict[str, float]:
    """Return `n`, `mean`, `sd` and the ends of Student's interval of some scores, shape (n,)."""
    n = len(values)
    mean = float(np.mean(values)) if n else float("nan")
    sd = float(np.std(values, ddof=1)) if n > 1 else float("nan")
    half = sd / np.sqrt(n) * student.ppf((1 + level) / 2, n - 1) if n > 1 else float("nan")
    return {"n": n, "mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def write_sweep(table: pd.DataFrame, folder: Path, *, title: str, command: str) -> Path:
    """Write `sweep.csv`, `means.csv` and `index.html`, a page that needs nothing beside it.

    Parameters
    ----------
    table : pandas.DataFrame
        From `sweep_table`.
    folder : Path
    title : str
    command : str
        That made the runs.

    Returns
    -------
    Path
        Of the page.
    """
    means = sweep_means(table)
    for name, one in (("sweep.csv", table), ("means.csv", means)):
        with atomic_path(folder / name) as temporary:
            one.to_csv(temporary, index=False)
    return write_text(folder / "index.html", _page(table, means, title=title, command=command))


def sweep_text(table: pd.DataFrame) -> str:
    """Return both tables as printed."""
    shown = table.drop(columns="error").round(3).to_string(index=False, na_rep="")
    means = sweep_means(table).round(3).to_string(index=False, na_rep="")
    return f"{shown}\n\nmean over runs, with Student's 95 % interval\n{means}"


def _page(table: pd.DataFrame, means: pd.DataFrame, *, title: str, command: str) -> str:
    from jinja2 import Environment

    # No names from outside are trusted: a parameter's value may hold any sign.
    page = Environment(autoescape=True).from_string(PAGE)
    settings = _settings(table, means)
    ends = [value for one in settings for value in (*one["scores"], one["low"], one["high"])]
    known = [value for value in ends if value == value]  # NaN is not
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    low, high = max(0.0, low - margin), min(1.0, high + margin)

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    return page.render(
        title=title,
        command=command,
        score=FIRST.replace("_", " ").replace("f1", "F1"),
        settings=settings,
        ticks=np.linspace(low, high, 5),
        x=x,
        sizes={"width": WIDTH, "line": LINE, "left": LEFT, "right": RIGHT},
        table=table.drop(columns="error"),
        failed=table[table["error"] != ""],
        means=means,
        shown=lambda value: "" if value != value else f"{value:.3f}",
        is_number=lambda value: isinstance(value, float),
    )


def _settings(table: pd.DataFrame, means: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the picture shows: a line for each setting, a dot for each of its runs."""
    others = list(means.columns[: list(means.columns).index("score")])
    lines = []
    for row in means[means["score"] == FIRST].to_dict("records"):
        mine = (
            table[np.all([table[name] == row[name] for name in others], axis=0)]
            if others
            else table
        )
        name = ", ".join(f"{name} {row[name]}" for name in others) or "all runs"
        scores = mine[FIRST].dropna().tolist()
        lines.append(
            {"name": name, "scores": scores, **{k: row[k] for k in ("mean", "low", "high")}}
        )
    return lines


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfb; --soft: #6b6b74;
  --rule: #d9d9de; --mark: #7b3f98; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e9ee; --paper: #17171b; --soft: #a2a2ad; --rule: #3a3a42; --mark: #cf9be8; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
code { overflow-wrap: anywhere; }
.note { color: var(--soft); max-width: 44rem; }
.wide { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 26rem; height: auto; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .tick { fill: var(--soft); font-size: 11px; }
svg line { stroke: var(--rule); }
svg .interval { stroke: var(--mark); stroke-width: 3; }
svg .run { fill: none; stroke: var(--ink); }
svg .mean { fill: var(--mark); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-bottom: 1.5rem; }
th, td { border-bottom: 1px solid var(--rule); padding: .25rem .75rem .25rem 0; text-align: left;
  white-space: nowrap; }
td.number, th.number { text-align: right; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p><code>{{ command }}</code></p>
{% set height = settings | length * sizes.line + 34 %}
<div class="wide" role="region" aria-label="Picture" tabindex="0">
<svg viewBox="0 0 {{ sizes.width }} {{ height }}" role="img"
 aria-label="The {{ score }} of each run, and the mean of each setting with its interval.">
{% for tick in ticks %}
<line x1="{{ x(tick) }}" x2="{{ x(tick) }}" y1="4" y2="{{ height - 26 }}"/>
<text class="tick" x="{{ x(tick) }}" y="{{ height - 10 }}" text-anchor="middle">
{{ "%.3f" | format(tick) }}</text>
{% endfor %}
{% for one in settings %}
{% set y = 4 + sizes.line * (loop.index0 + 0.5) %}
<text x="{{ sizes.left - 14 }}" y="{{ y + 4 }}" text-anchor="end">{{ one.name[:26] }}</text>
{% if one.low == one.low %}
<line class="interval" x1="{{ x(one.low) }}" x2="{{ x(one.high) }}" y1="{{ y }}" y2="{{ y }}"/>
{% endif %}
{% for score in one.scores %}<circle class="run" cx="{{ x(score) }}" cy="{{ y }}" r="4"/>
{% endfor %}
{% if one.mean == one.mean %}
<circle class="mean" cx="{{ x(one.mean) }}" cy="{{ y }}" r="4"/>
{% endif %}
{% endfor %}
</svg>
</div>
<p class="note">{{ score }}. A ring is a run, a dot the mean of a setting, its line Student's 95 %
interval of that mean: how well these runs fix it. How far the score of one run can be trusted, with
the cells that it was judged on, is <em>low</em> to <em>high</em> in the table of runs.</p>
{% for heading, rows in (("Means", means), ("Runs", table)) %}
<h2>{{ heading }}</h2>
<div class="wide" role="region" aria-label="{{ heading }}" tabindex="0">
<table>
<thead><tr>{% for name in rows.columns %}
<th scope="col"{% if rows[name].dtype.kind == "f" %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in rows.itertuples(index=False) %}
<tr>{% for value in row %}{% if is_number(value) %}<td class="number">{{ shown(value) }}</td>
{% else %}<td>{{ value }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
{% if failed | length %}
<h2>Failed</h2>
<ul>
{% for row in failed.itertuples() %}<li><code>{{ row.run }}</code>: {{ row.error }}</li>
{% endfor %}
</ul>
{% endif %}
</body>
</html>
"""
