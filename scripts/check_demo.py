"""Does the demo show every lesson, whatever the seed? Run the chain for several and look.

    python scripts/check_demo.py --seeds 0 1 2 3 4 [--json table.json] [-p name value ...]

The seeds are a sweep, `runs/demo-seeds`; a run that is finished and up to date is only read. The
table has a row a lesson and a column a seed, each with what was found; a lesson that does not show
is marked. The exit status is 1 where one is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.chain.pipeline import JOBS
from hv_utils.chain.sweep import plan, run_sweep
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.predictions import from_predictions
from hv_utils.ground.runs import PROJECT_ROOT, Run, environment
from hv_utils.scores.calibration import apply_temperature
from hv_utils.scores.intervals import scores_from_confusion
from hv_utils.scores.verdicts import UNDECIDED
from hv_utils.studies.reasons import NONE_KNOWN, WHOLE, mistakes_by_reason
from hv_utils.studies.sweeps import mean_interval

BLOOD = {"eosinophil": 2.2, "lymphocyte": 37.1, "monocyte": 6.4, "neutrophil": 54.2}
"""Per cent of white cells in normal blood (`orfanakis1970`)."""


@dataclass(frozen=True)
class Shown:
    """What a run shows of a lesson, in words, and whether that is what it must show."""

    words: str
    passed: bool


def leak(run: Run) -> Shown:
    """Check that a random split scores far higher than one by source, interval and all."""
    found = run.read_json("leak.json")["inflation"]
    words = f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
    return Shown(words, found["value"] >= 0.15 and found["low"] > 0)


def siblings(run: Run) -> Shown:
    """Check that under the random split the nearest training image is a sibling."""
    share = run.read_json("leak.json")["neighbours"]["random"]["sibling"]
    return Shown(f"{share:.0%}", share >= 0.8)


def official_test(run: Run) -> Shown:
    """Check that the official TEST's interval meets that by source, and not the random one's."""
    schemes = run.read_json("leak.json")["schemes"]
    random, source, test = (schemes[name]["image"] for name in ("random", "source", "test"))
    words = ", ".join(
        f"{one['macro_f1']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
        for one in (random, source, test)
    )
    near = test["low"] <= source["high"] and source["low"] <= test["high"]
    return Shown(words, near and random["low"] - test["high"] > 0)


def fine_tuning(run: Run) -> Shown:
    """Check that phase 2 is kept, since it gains on the validation cells."""
    history = run.read_table("history.csv")
    best = history[history["best"]].set_index("phase")["val_macro_f1"]
    tuned = best.get("fine-tuning", np.nan)
    return Shown(f"{best['head']:.3f} to {tuned:.3f}", bool(tuned > best["head"]))


def calibration(run: Run) -> Shown:
    """Check that the diagram bends, and that the temperature lowers the loss it is fitted for.

    The calibration error is told beside it: with its few bins it hangs on a few cells.
    """
    found = run.read_json("metrics.json")["calibration"]
    words = f"error {found['ece']:.3f} to {found['ece_after']:.3f}, T {found['temperature']:.2f}, "
    words += f"log loss {found['log_loss']:.3f} to {found['log_loss_after']:.3f}"
    return Shown(words, found["ece"] >= 0.03 and found["log_loss_after"] < found["log_loss"])


def unsure(run: Run) -> Shown:
    """Check that the threshold fires on some test images, and what remains is more often right."""
    facts = run.read_json("model.onnx.json")
    truth, probs, _, _ = from_predictions(run.read_table("predictions.csv"))
    probs = apply_temperature(probs, facts["temperature"])
    right = probs.argmax(1) == truth
    fired = probs.max(1) < facts["thresholds"]["unsure_below"]
    kept = right[~fired].mean()
    words = f"{fired.mean():.0%} unsure, right {right.mean():.3f} to {kept:.3f}"
    return Shown(words, bool(0.05 <= fired.mean() <= 0.20 and kept > right.mean()))


def audit_twins(run: Run) -> Shown:
    """Check that the audit finds the fields photographed for both sides, and no others."""
    planned = _planned(run)
    twins = planned[planned.duplicated("field", keep=False)].groupby("field")["photo"]
    wanted = {" ".join(sorted(photos)) for _, photos in twins}
    found = set(_findings(run, "same field")["cell"])
    return Shown(
        f"{len(found & wanted)} of {len(wanted)}, {len(found - wanted)} more",
        bool(wanted) and found == wanted,
    )


def audit_labels(run: Run) -> Shown:
    """Check that the audit lists every cell whose label is wrong."""
    planned = _planned(run)
    wrong = set(planned.loc[planned["label"] != planned["drawn_as"], "photo"])
    listed = set(_findings(run, "disagrees with its label")["cell"])
    words = f"{len(wrong & listed)} of {len(wrong)}, {len(listed - wrong)} more"
    return Shown(words, bool(wrong) and wrong <= listed)


def audit_cut_off(run: Run) -> Shown:
    """Check that the audit finds the cells that the frame of a copy cuts off."""
    images = run.read_table("images.csv")
    cut = set(images.loc[(images["inside"] < WHOLE) & (images["split"] != "simple"), "cell"])
    found = set(_findings(run, "partly outside the frame")["cell"])
    return Shown(f"{len(cut & found)} of {len(cut)} cells", bool(cut) and cut <= found)


def ablations(run: Run) -> Shown:
    """Check that some questions are decided and some are not."""
    found = run.read_json("ablations.json")
    verdicts = {name: claim["verdict"] for name, claim in found["claims"].items()}
    verdicts["stable"] = found["stability"]["verdict"]
    # The page words this one, too: what early stopping spares is certainty, not mistakes.
    on_loss = {
        row["gain"]: row["verdict"] for row in found["head_gains"] if row["score"] == "log_loss"
    }
    verdicts["early_stopping by log loss"] = on_loss["early stopping, not all passes"]
    verdicts |= {row["gain"]: row["verdict"] for row in found.get("view_gains", [])}
    decided = [name for name, verdict in verdicts.items() if verdict != UNDECIDED]
    passed = len(decided) >= 2 and len(decided) < len(verdicts)
    return Shown(f"decided: {', '.join(decided) or 'none'}", passed)


def priors(run: Run) -> Shown:
    """Check that with the shares of blood the precision of eosinophils falls."""
    metrics = run.read_json("metrics.json")
    counts = np.array(metrics["confusion_matrix"], float)
    shares = np.array([BLOOD[name] for name in metrics["classes"]])
    weighted = counts / counts.sum(1, keepdims=True) * shares[:, None]
    at = metrics["classes"].index("eosinophil")
    before, after = (scores_from_confusion(m)["precision"][at] for m in (counts, weighted))
    return Shown(f"{before:.2f} to {after:.2f}", bool(before - after >= 0.1))


def mistakes(run: Run) -> Shown:
    """Check that the score leaves room for mistakes, and that most have a visible reason."""
    score = run.read_json("metrics.json")["macro_f1"]
    images, predictions = run.read_table("images.csv"), run.read_table("predictions.csv")
    found = mistakes_by_reason(predictions, images)["mistakes"]
    wrong, told = found.sum(), found.drop(NONE_KNOWN).sum()
    words = f"F1 {score:.3f}, {told} of {wrong} explained"
    return Shown(words, bool(0.80 <= score <= 0.93 and told >= 0.5 * wrong > 0))


LESSONS: dict[str, Callable[[Run], Shown]] = {
    "leak: random less by source": leak,
    "leak: nearest is a sibling": siblings,
    "leak: random, source, TEST": official_test,
    "fine-tuning: validation F1": fine_tuning,
    "calibration": calibration,
    "unsure": unsure,
    "audit: twins": audit_twins,
    "audit: wrong labels": audit_labels,
    "audit: cut off": audit_cut_off,
    "ablations": ablations,
    "priors: eosinophil precision": priors,
    "mistakes": mistakes,
}

SCORES: dict[str, Callable[[Run], float]] = {
    "macro_f1": lambda run: run.read_json("metrics.json")["macro_f1"],
    "inflation": lambda run: run.read_json("leak.json")["inflation"]["value"],
}


def _planned(run: Run) -> pd.DataFrame:
    names = {"photo": str, "field": str}
    return pd.read_csv(run.path("data") / "truth" / "photos.csv", dtype=names)


def _findings(run: Run, reason: str) -> pd.DataFrame:
    table = run.read_table("audit.csv")
    return table[table["reason"] == reason]


def main(arguments: list[str]) -> int:
    """Run the seeds, print the table, write it as JSON; return how many lessons do not show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--runs", default="runs", help="folder of the run folders")
    parser.add_argument("--json", help="where to write the table")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    chosen = parser.parse_args(arguments)
    table: dict[str, dict[str, dict]] = {name: {} for name in LESSONS}
    seconds, scores = {}, {name: [] for name in SCORES}
    folder = PROJECT_ROOT / chosen.runs / f"{chosen.profile}-seeds"
    pairs = [("seed", ",".join(map(str, chosen.seeds))), *chosen.p]
    points = plan(chosen.profile, pairs, folder=folder, until_step="audit")
    for outcome in run_sweep(points, folder=folder, jobs=JOBS):
        if outcome.error:
            raise HematoVisionError(f"{outcome.point.name}: {outcome.error}")
        seed = int(outcome.point.varied["seed"])
        run = Run.open(outcome.point.run_dir)
        seconds[seed] = round(sum(run.manifest["seconds"].values()))
        for name, look in LESSONS.items():
            shown = look(run)
            table[name][str(seed)] = {"found": shown.words, "passed": shown.passed}
        for name, read in SCORES.items():
            scores[name].append(read(run))
    print(_markdown(table, seconds))
    if chosen.json:
        spread = {name: mean_interval(np.array(values)) for name, values in scores.items()}
        about = {"command": f"python {shlex.join(sys.argv)}", **environment()}
        record = {**about, "lessons": table, "scores": spread, "seconds": seconds}
        write_text(Path(chosen.json), dump_json(record))
    return sum(not found["passed"] for row in table.values() for found in row.values())


def _markdown(table: dict[str, dict[str, dict]], seconds: dict[int, int]) -> str:
    """Return the table in Markdown; what does not show is in bold."""
    head = ["lesson", *(f"seed {seed} ({total} s)" for seed, total in seconds.items())]
    rows = [
        [name, *(f["found"] if f["passed"] else f"**{f['found']}**" for f in found.values())]
        for name, found in table.items()
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
