"""The report's claims beside the evidence of a run, with verdicts by rules written down here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hv_utils.scores.bootstrap import in_words
from hv_utils.scores.verdicts import (
    STABLE_RULE,
    UNDECIDED,
    attention_verdict,
    between,
    claim_verdict,
    weakest,
)
from hv_utils.studies.explanation_checks import MOSTLY, TRUST_RULE, focus_verdict, trusted

NOT_MEASURED = "not measured in this run"

CLAIMED_F1 = 0.91
CONSISTENT_SPREAD = 0.05
FAST_MS = 100.0


@dataclass(frozen=True)
class Claim:
    """One claim of the report and how it is judged.

    Attributes
    ----------
    name : str
        The claim in a few words.
    rule : str
        The rule of the verdict, in words.
    judge : callable
        Takes the artefacts of a run and returns (evidence, verdict), both str. Raises KeyError
        where an artefact is missing, which is reported as not measured.
    """

    name: str
    rule: str
    judge: Callable[[Mapping[str, Any]], tuple[str, str]]


def judge_all(artefacts: Mapping[str, Any]) -> pd.DataFrame:
    """Judge every claim by the artefacts of one run.

    Parameters
    ----------
    artefacts : mapping
        Contents of `metrics.json`, `gradcam.json`, `explanations.json`, `prediction.json` and
        `ablations.json` under their stems; any may be missing.

    Returns
    -------
    pandas.DataFrame
        One row a claim: `claim`, `rule`, `evidence`, `verdict`.
    """
    rows = []
    for claim in CLAIMS:
        try:
            evidence, verdict = claim.judge(artefacts)
        except KeyError:
            evidence, verdict = NOT_MEASURED, UNDECIDED
        rows.append([claim.name, claim.rule, evidence, verdict])
    return pd.DataFrame(rows, columns=["claim", "rule", "evidence", "verdict"])


def _average_f1(run: Mapping[str, Any]) -> tuple[str, str]:
    metrics = run["metrics"]
    interval = metrics["intervals"]["macro_f1"]
    cells = f"{metrics['n_cells']} cells" if metrics.get("n_cells") else "cells unknown"
    score = in_words({"value": metrics["macro_f1"], **interval})
    evidence = f"macro-F1 {score} on {metrics['n_images']:,} images, {cells}"
    return evidence, claim_verdict(interval, claim=CLAIMED_F1)


def _consistent(run: Mapping[str, Any]) -> tuple[str, str]:
    f1 = {name: scores["f1"] for name, scores in run["metrics"]["per_class"].items()}
    best, worst = max(f1, key=f1.get), min(f1, key=f1.get)
    spread = run["metrics"]["intervals"]["f1_spread"]
    apart = in_words({"value": f1[best] - f1[worst], **spread})
    evidence = f"F1 from {f1[worst]:.2f} ({worst}) to {f1[best]:.2f} ({best}), {apart} apart"
    return evidence, claim_verdict(spread, claim=CONSISTENT_SPREAD, less_is_better=True)


def _attention(run: Mapping[str, Any]) -> tuple[str, str]:
    maps = run["gradcam"]
    region = "nucleus" if "energy_nucleus" in maps else "box"
    evidence = (
        f"Grad-CAM: {maps[f'energy_{region}']:.0%} of the heat inside the {region}, which takes "
        f"{maps[f'area_{region}']:.0%} of the area"
    )
    if region != "nucleus":
        return f"{evidence}; where the nuclei lie is not known", UNDECIDED
    if table := run.get("explanations", {}).get("table"):
        told, verdict = _focus(pd.DataFrame(table))
        return f"{evidence}; {told}", verdict
    gain = dict(zip(("low", "high"), maps["gain_intervals"][region], strict=True))
    return evidence, attention_verdict(maps["energy_nucleus"], gain)


def _focus(table: pd.DataFrame) -> tuple[str, str]:
    mostly = table[table["check"] == MOSTLY].set_index("method")
    left = trusted(table)
    shares = "; ".join(f"{name} {in_words(mostly.loc[name])}" for name in left)
    told = f"on the nucleus by each method that fails no check of trust: {shares or 'none is left'}"
    return told, focus_verdict(table)


def _stable(run: Mapping[str, Any]) -> tuple[str, str]:
    found = run["ablations"]["stability"]
    drop = found["largest_drop"]
    evidence = (
        f"over seeds a head's macro-F1 spreads by {in_words(found, key='sd')}; "
        "in fine-tuning the model's "
        + ("had nothing to fall from" if drop is None else f"fell by {drop:.3f} at most")
        + f"; tolerance {found['tolerance']:g}"
    )
    return evidence, found["verdict"]


def _fast(run: Mapping[str, Any]) -> tuple[str, str]:
    milliseconds = run["prediction"]["ms_per_image"]
    evidence = f"{milliseconds:.0f} ms an image in batches, reading included, without a GPU"
    return evidence, between(milliseconds, confirmed=FAST_MS, refuted=2 * FAST_MS)


def _ablation(name: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    def judge(run: Mapping[str, Any]) -> tuple[str, str]:
        claim = run["ablations"]["claims"][name]
        return claim["evidence"], claim["verdict"]

    return judge


def _augmentation(run: Mapping[str, Any]) -> tuple[str, str]:
    """Judge the copies against plain training and against class weights, which make no copy."""
    evidence, against_plain = _ablation("augmentation")(run)
    gains = {
        gain["gain"]: gain for gain in run["ablations"]["gains"] if gain["score"] == "macro_f1"
    }
    weights, over_weights = gains["weighted, not plain"], gains["augmented, not weighted"]
    evidence += f"; class weights alone, without a copy, {in_words(weights, signed=True)}"
    evidence += f"; copies over class weights {in_words(over_weights, signed=True)}"
    return evidence, weakest(against_plain, over_weights["verdict"])


CLAIMS = (
    Claim(
        "average F1 of 91 %",
        f"confirmed where the interval's lower end reaches {CLAIMED_F1}, not confirmed where its "
        "upper end stays below, undecided where it holds the claim or has no width",
        _average_f1,
    ),
    Claim(
        "consistent over the classes",
        f"the F1 of the best and of the worst class differ by {CONSISTENT_SPREAD} at most: "
        "confirmed where the whole interval of the difference keeps to it, not confirmed where all "
        "of it exceeds it, else undecided",
        _consistent,
    ),
    Claim(
        "attention on the nuclei",
        f"{TRUST_RULE}. Where Grad-CAM alone was measured: more than half of the heat inside the "
        "nucleus, and more than its area with an interval above zero",
        _attention,
    ),
    Claim(
        "augmentation against imbalance",
        "a cure must beat both no cure and the free one. Its gains in macro-F1 over equally many "
        "unbalanced copies and over class weights, paired over held-out cells: confirmed where "
        "both intervals lie above zero, not confirmed where one lies below, else undecided",
        _augmentation,
    ),
    Claim(
        "stable training",
        "the spread over seeds of the validation macro-F1 of heads on frozen features, and its "
        "largest fall between passes of fine-tuning, both against the tolerance of the ablations: "
        + STABLE_RULE,
        _stable,
    ),
    Claim(
        "dropout against overfitting",
        "the gain of dropout over none, paired over held-out cells, by the same rule",
        _ablation("dropout"),
    ),
    Claim(
        "early stopping against overfitting",
        "the gain of early stopping over training to the end, by the same rule",
        _ablation("early_stopping"),
    ),
    Claim(
        "fast inference",
        f"at most {FAST_MS:.0f} ms an image: confirmed; more than twice that: not confirmed",
        _fast,
    ),
)
