"""What the leak experiment found, in words and tables: for its page and for those that quote it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.scores.bootstrap import in_words
from hv_utils.scores.verdicts import CONFIRMED, REFUTED
from hv_utils.studies.leak import SCHEMES
from hv_utils.studies.leak_scores import THAN_CHANCE

MISSING = "n/a"
BORDER_TELLS = {THAN_CHANCE[CONFIRMED]: "tells the class", THAN_CHANCE[REFUTED]: "misleads"}


def headlines(result: Mapping[str, Any]) -> dict[str, dict[str, float] | None]:
    """Pick the numbers that the book quotes from the content of leak.json.

    Returns
    -------
    dict of str to dict or None
        `f1_random`, `f1_prefix`, `f1_source`, `f1_test`, `inflation`, `border_f1`,
        `border_chance` (both by source photo, on TEST where no source is known) and `cv_mean`:
        `value`, `low`, `high`, per image; None for what the images did not allow.
    """
    fair = _fair(result["border"])
    found = {f"f1_{name}": result["schemes"].get(name, {}).get("image") for name in SCHEMES}
    found |= {"inflation": result["inflation"], "border_f1": fair["image"]}
    found |= {"border_chance": fair["chance"]}
    found |= {"cv_mean": (result["cross_validation"] or {}).get("image")}
    return {
        name: score
        and {
            "value": next(score[key] for key in ("macro_f1", "value", "mean") if key in score),
            "low": score["low"],
            "high": score["high"],
        }
        for name, score in found.items()
    }


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Put the headline numbers of several builds side by side, in words.

    Parameters
    ----------
    results : mapping of str to mapping
        Name of each build, and the content of its leak.json.

    Returns
    -------
    DataFrame
        One row a number, one column a build.
    """
    names = {f"f1_{name}": f"macro-F1, {words}" for name, words in SCHEMES.items()}
    names |= {"inflation": "inflation (random minus by source)"}
    names |= {"border_f1": "macro-F1, border alone", "border_chance": "macro-F1, chance"}
    names |= {"cv_mean": "macro-F1, repeated cross-validation"}
    columns = {}
    for build, result in results.items():
        found = headlines(result)
        columns[build] = {
            words: MISSING
            if found[name] is None
            else in_words(found[name], signed=name == "inflation")
            for name, words in names.items()
        }
    return pd.DataFrame(columns)


def glue_values(
    result: Mapping[str, Any], reference: Mapping[str, Any] | None
) -> dict[str, float | int | str]:
    """Name the numbers of a run, and those of the reference run, for the prose of the book.

    Parameters
    ----------
    result : mapping
        Content of this run's leak.json.
    reference : mapping or None
        That of the reference run on the real photographs.

    Returns
    -------
    dict
        The keys of `headlines`, with `_low` and `_high`, `cv_sd` and `n_cells_cv` as numbers (NaN
        or 0 where missing), and the same under `real_` as texts ("n/a" where missing);
        `inflation_reading`, the predicate of a sentence about the inflation.
    """
    values: dict[str, float | int | str] = {}
    for prefix, build in (("", result), ("real_", reference)):
        found = headlines(build) if build else dict.fromkeys(headlines(result))
        for name, score in found.items():
            form = "+.3f" if name == "inflation" else ".3f"
            for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                number = float("nan") if score is None else score[end]
                text = MISSING if score is None else f"{number:{form}}"
                values[f"{prefix}{name}{suffix}"] = text if prefix else number
        repeated = (build or {}).get("cross_validation")
        sd = repeated["image"]["sd"] if repeated else None
        cells = repeated["n_cells"] if repeated else None
        if prefix:
            values["real_cv_sd"] = MISSING if sd is None else f"{sd:.3f}"
            values["real_n_cells_cv"] = MISSING if cells is None else f"{cells:,}"
            values |= _real_sizes(build)
        else:
            values |= {"cv_sd": float("nan") if sd is None else sd, "n_cells_cv": cells or 0}
    values["inflation_reading"] = _reading(values["inflation_low"])
    return values


def _real_sizes(build: Mapping[str, Any] | None) -> dict[str, str]:
    """Say how many images and cells the reference run's splits dealt out, and who stood next."""
    if not build:
        return dict.fromkeys(("real_n_train_images", "real_n_train_cells", "real_sibling"), MISSING)
    dealt = build["schemes"]["random"]
    return {
        "real_n_train_images": f"{dealt['n_images']:,}",
        "real_n_train_cells": f"{dealt['n_cells']:,}",
        "real_sibling": f"{build['neighbours']['random']['sibling']:.0%}",
    }


def _reading(low: float) -> str:
    """Say what a difference between the random split and that by source is, by its lower end."""
    if np.isnan(low):
        return "could not be measured here"
    return "is memory" if low > 0 else "cannot be told from nothing on so few cells"


def inflation_sentence(
    inflated: Mapping[str, Any] | None, schemes: Mapping[str, Any], *, cells: str = "cells"
) -> str:
    """Say what a random split makes of the score.

    Parameters
    ----------
    inflated : mapping or None
        From `leak_scores.inflation`.
    schemes : mapping
        For each scheme what `leak_scores.summarise` gives.
    cells : str
        What the cells are called.
    """
    if inflated is None:
        return "The inflation cannot be measured: no split by source photo is possible here."
    random, source = (schemes[name]["image"]["macro_f1"] for name in ("random", "source"))
    return (
        f"Same model, same {schemes['random']['n_images']:,} images of "
        f"{_many(schemes['random'], cells)}: a random split **{inflated['verdict']}**, "
        f"{random:.3f} against {source:.3f}, a difference of {inflated['value']:+.3f} "
        f"({inflated['level']:.0%} interval {inflated['low']:+.3f} to {inflated['high']:+.3f})."
    )


def _many(score: Mapping[str, Any], cells: str) -> str:
    """Say how many cells, or what else is resampled, stand behind a score."""
    if score["n_cells"]:
        return f"{score['n_cells']} {cells}"
    return f"{score['n_resampled']} {score['resampled']}"


def splits_sentences(inflated: Mapping[str, Any] | None, schemes: Mapping[str, Any]) -> str:
    """Say what a split by file names cures, and whether that by source agrees with TEST.

    Parameters as in `inflation_sentence`; "" where there is no inflation to speak of.
    """
    if inflated is None:
        return ""
    source, text = schemes["source"]["image"]["macro_f1"], ""
    if inflated["low"] > 0 and "prefix" in schemes:
        kept = (schemes["prefix"]["image"]["macro_f1"] - source) / inflated["value"]
        cured = "no cure" if kept > 0.5 else "half a cure" if kept > 0.1 else "a cure, by luck"
        text = (
            f"Grouping by the number in the file name is **{cured}**: {kept:.0%} of the inflation "
            "stays. "
        )
    test = schemes["test"]["image"]
    agrees = test["low"] <= source <= test["high"]
    return text + (
        f"The split by source photo, made from TRAIN alone, {'agrees' if agrees else 'disagrees'} "
        f"with the official TEST: its {source:.3f} lies {'inside' if agrees else 'outside'} "
        f"TEST's interval, {test['low']:.3f} to {test['high']:.3f}."
    )


def border_lines(border: Mapping[str, Any]) -> str:
    """Say, line by line, what the black border alone scores under each scheme, and by chance."""
    return "\n".join(
        f"- {SCHEMES[name]}: {in_words(found['image'], key='macro_f1')}, chance "
        f"{in_words(found['chance'], key='macro_f1')}: **{found['verdict']}**"
        for name, found in border.items()
    )


def repeated_lines(summary: Mapping[str, Any], *, cells: str = "cells") -> str:
    """Say what a repeated cross-validation found, and what its figures hang on.

    Parameters
    ----------
    summary : mapping
        From `leak_scores.repeated_summary`.
    cells : str
        What the cells are called.
    """
    lines = [
        f"{summary['n_images']:,} images of {summary['n_cells']} {cells}, each tested once a "
        "repeat:\n"
    ]
    for view in ("image", "cell"):
        found = summary[view]
        deviation = "" if found["sd"] is None else f" ± {found['sd']:.3f} over the repeats"
        lines.append(
            f"- Macro-F1 per {view}: {found['mean']:.3f}{deviation}; {found['level']:.0%} interval "
            f"over cells {found['low']:.3f} to {found['high']:.3f}."
        )
    image = summary["image"]
    if image["sd"]:
        ratio = (image["high"] - image["low"]) / image["sd"] / 4
        advice = "more seeds would not help, more cells would" if ratio > 1 else "repeat more"
        lines.append(
            f"- What the cells leave open is {ratio:.1f} times what the folds do: {advice}."
        )
    return "\n".join(lines)


def lessons(result: Mapping[str, Any], *, cells: str = "cells") -> list[str]:
    """Return what the page concludes, a sentence each, from the content of leak.json."""
    border = _fair(result["border"])
    told = BORDER_TELLS.get(border["verdict"], "tells nothing that we can measure")
    lines = [
        inflation_sentence(result["inflation"], result["schemes"], cells=cells),
        "Splitting by something that looks like a source is not splitting by the source: check "
        "what a name means before grouping by it.",
        f"The border alone {told} (macro-F1 {border['image']['macro_f1']:.3f}, chance "
        f"{border['chance']['macro_f1']:.3f}).",
    ]
    summary = result["cross_validation"]
    if summary:
        lines.append(
            f"Tested on all {summary['n_cells']} {cells}, the probe reaches "
            f"{summary['image']['mean']:.3f} per image and {summary['cell']['mean']:.3f} per cell."
        )
    return lines


def _fair(border: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the border's scores by source photo, on TEST where no source is known."""
    return border.get("source") or border["test"]
