"""The command `hv`."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import click

from hv_utils import __version__
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import DISK_FULL

STOPPED_BY = 128  # plus the signal's number, as shells have it
REFUSED = (*DISK_FULL, errno.EROFS, errno.EACCES, errno.EPERM)


of_known_scale = click.option(
    "--um-per-pixel",
    type=float,
    metavar="UM",
    help="Scale of the pictures.  [default: the red cells in each are measured]",
)


class Group(click.Group):
    """A group of commands in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their definition."""
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hv")
def hv() -> None:
    """HematoVision: an executable report on white-blood-cell classification.

    \b
    hv run --profile demo --run demo        the whole chain on drawn cells
    hv book --run demo                      the book with that run's figures
    hv predict cell.jpg folder/ --csv out.csv

    Nothing here is for diagnosis.
    """  # noqa: D301 (the backspace is click's mark for lines that are not to be wrapped)


@hv.command()
@click.option("--profile", default="demo", show_default=True, help="notebooks/profiles/NAME.yaml")
@click.option("--run", "name", help="Name of the folder below runs/.  [default: the profile's]")
@click.option(
    "--archive",
    "archives",
    multiple=True,
    help="The real data: its zip file or unpacked folder; repeat it for several sources.",
)
@click.option(
    "-p",
    "--parameter",
    "pairs",
    type=(str, str),
    multiple=True,
    metavar="KEY VALUE",
    help="Set a parameter of the notebooks; may be repeated.",
)
@click.option("--from", "from_step", metavar="STEP", help="Run STEP and all behind it again.")
@click.option("--until", "until_step", metavar="STEP", help="Leave out what comes behind STEP.")
@click.option("--force", is_flag=True, help="Run every step again, with these parameters.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Notebooks that run at once.  [default: 2, or 1 on a single core]",
)
@click.option("--list", "listing", is_flag=True, help="List steps and parameters, run nothing.")
def run(profile, name, archives, pairs, from_step, until_step, force, jobs, listing) -> None:
    """Run the notebooks that are not up to date.

    A step is up to date while its notebook, the helpers that it uses, its parameters and its
    input files are what they were. After a failure or Ctrl-C the same command resumes.
    """
    from hv_utils.chain import parameters, pipeline, steps

    steps.need_notebooks()
    if listing:
        _list_parameters()
        return
    overrides = parameters.from_command_line(pairs)
    if archives:
        absolute = [str(Path(one).expanduser().absolute()) for one in archives]
        overrides["archive"] = ",".join(absolute)
    result = pipeline.run_chain(
        profile,
        run_dir=_run_folder(name or profile),
        overrides=overrides,
        from_step=from_step,
        until_step=until_step,
        force=force,
        jobs=jobs or pipeline.JOBS,
        echo=click.echo,
    )
    click.echo(f"run folder: {result.folder}")


@hv.command()
@click.option("--profile", default="demo", show_default=True, help="notebooks/profiles/NAME.yaml")
@click.option("--run", "name", help="Folder below runs/.  [default: the profile's name and -sweep]")
@click.option(
    "-p",
    "--parameter",
    "pairs",
    type=(str, str),
    multiple=True,
    required=True,
    metavar="KEY VALUES",
    help="Values of a parameter: 0..9 or 0.2,0.4; may be repeated.",
)
@click.option("--until", "until_step", metavar="STEP", help="Leave out what comes behind STEP.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Chains that run at once.  [default: as hv run]"
)
@click.option("--scheduler", metavar="ADDRESS", help="Let that Dask scheduler's workers run them.")
def sweep(profile, name, pairs, until_step, jobs, scheduler) -> None:
    """Run the chain at each point of a grid of parameters, several side by side.

    Each point has its run folder, runs/NAME/POINT. At the end come a table of all runs, means over
    the seeds with intervals, and a page that compares them, runs/NAME/index.html.

    A point that fails stops no other; it is named, and the exit status is 1. After Ctrl-C or a kill
    the same command goes on: what is up to date is skipped. The notebooks' times are taken while
    others run.
    """
    from hv_utils.chain import pipeline, steps
    from hv_utils.chain.sweep import plan, run_sweep
    from hv_utils.ground.runs import PROJECT_ROOT
    from hv_utils.studies.sweeps import sweep_table, sweep_text, write_sweep

    steps.need_notebooks()
    if scheduler and jobs:
        raise HematoVisionError(
            "expected --jobs or --scheduler, but got both: a scheduler's workers have as many "
            "threads as they were started with"
        )
    folder = PROJECT_ROOT / _run_folder(name or f"{profile}-sweep")
    points = plan(profile, pairs, folder=folder, until_step=until_step)
    options = {"jobs": jobs or pipeline.JOBS, "scheduler": scheduler}
    outcomes = run_sweep(points, folder=folder, echo=click.echo, **options)
    table = sweep_table(outcomes)
    words = ["hv", "sweep", "--profile", profile, "--run", folder.name]
    words += [word for pair in pairs for word in ("-p", *pair)]
    words += ["--until", until_step] if until_step else []
    page = write_sweep(table, folder, title=f"Sweep {folder.name}", command=shlex.join(words))
    _say(sweep_text(table))
    _say(f"page: {page}")
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        _say(f"hv: {outcome.point.name} failed: {outcome.error}", sys.stderr)
    if failed:
        sys.exit(1)


def _run_folder(name: str) -> Path:
    """Return `runs/<name>`, also where the name was typed with its folder."""
    return Path("runs") / name.removeprefix("runs/")


def _list_parameters() -> None:
    from hv_utils.chain import parameters, steps

    click.echo(f"profiles: {', '.join(parameters.profile_names())}")
    for step in steps.STEPS:
        click.echo(f"\n{step.name}")
        for name, facts in parameters.declared(step.notebook).items():
            if name != parameters.CHAIN_PARAMETER:
                kind, default = facts["inferred_type_name"], facts["default"]
                click.echo(f"  {name}: {kind} = {default}  {facts['help']}")


@hv.command()
@click.option("--run", "name", default="demo", show_default=True, help="Folder below runs/.")
@click.option("--force", is_flag=True, help="Build even where nothing has changed.")
@click.option(
    "--print",
    "pdf",
    type=click.Path(dir_okay=False),
    metavar="FILE.pdf",
    help="Print it to one file, too, without code: with Chromium, Chrome or Edge.",
)
def book(name, force, pdf) -> None:
    """Build the book from a finished run; prints the path of its first page."""
    from hv_utils.chain import printer, steps
    from hv_utils.chain.book import build
    from hv_utils.ground.locks import locked
    from hv_utils.ground.runs import Run

    steps.need_notebooks()
    finished = Run.open(_run_folder(name))
    program = printer.browser() if pdf else ""
    with locked(finished.folder):
        first = build(finished, force=force, echo=click.echo)
    click.echo(first)
    if program:
        from hv_utils.chain.printed_book import print_book

        click.echo(f"printed: {print_book(first.parent, pdf, program=program)}")


@hv.command()
@click.argument("folder", type=click.Path())
@click.option("--run", "name", default="demo", show_default=True, help="Folder below runs/.")
@click.option("--pdf", is_flag=True, help="Print all to PDF, with Chromium, Chrome or Edge.")
def slides(folder, name, pdf) -> None:
    """Write FOLDER/slides and FOLDER/handouts: what to show and to hand out in each lesson.

    The slides show the figures, tables and numbers of a finished run; they open from disk and need
    no network. The key S opens the notes. A handout is one page to print, and shows no result.

    FOLDER must be new or empty. With --pdf come 1-cells.pdf, 1-cells-notes.pdf and so on.
    """
    from hv_utils.chain import steps
    from hv_utils.classroom.teaching import write_teaching
    from hv_utils.drawn.paper import sheets
    from hv_utils.ground.locks import locked
    from hv_utils.ground.runs import Run

    steps.need_notebooks()
    finished = Run.open(_run_folder(name))
    with locked(finished.folder):
        written = write_teaching(folder, finished, sheets(), pdf=pdf, echo=_say)
    _say(f"slides: {written / 'slides' / 'index.html'}")


@hv.command()
@click.argument("folder", type=click.Path())
@click.option(
    "--run", "name", help="A finished run below runs/: the teacher's kit then has its outputs."
)
@click.option("--room", is_flag=True, help="Add all that machines without a network need.")
@click.option(
    "--for",
    "targets",
    multiple=True,
    metavar="SYSTEM-PYTHON",
    help="The room's machines, such as windows-3.12; may be repeated.  [default: as this one]",
)
def course(folder, name, room, targets) -> None:
    """Write FOLDER/student and FOLDER/teacher: the notebooks and exercises for a class.

    Both kits come from the same notebooks and pages. The student's holds every exercise with a
    stub, a hint, its level, its minutes and a check that tells right from wrong; no output, no
    result and no solution. The teacher's has the solutions below the exercises and the keys of the
    drawn sheets; with --run the notebooks are as that run executed them, and the solutions are
    executed on it, which takes minutes. Both have the handouts, and with --run the teacher's has
    the slides of hv slides.

    FOLDER must be new or empty. The exercises on paper are a page to print, paper/paper.html, and
    so is a sheet of forty cells, paper/contact.html. With --run both kits have the page of
    hv versus.
    The notebooks need an installed HematoVision and a run folder, as `make book` leaves them.

    With --room comes FOLDER/machine, to be copied onto each machine: wheels for its system and
    Python, the package, the student's notebooks, the run, pages of the book without results, and a
    script that installs it all without a network. The teacher gets the whole book. About 1 GB is
    downloaded, checked against the lock and kept in build/wheels; after a stop the same command
    goes on.
    """
    from hv_utils.chain import steps
    from hv_utils.classroom.kits import write_course
    from hv_utils.drawn.paper import sheets
    from hv_utils.ground.files import need_room
    from hv_utils.ground.runs import Run

    steps.need_notebooks()
    if (room and not name) or (targets and not room):
        given, lacks = ("--room", "--run") if room else ("--for", "--room")
        raise HematoVisionError(
            f"expected {lacks} beside {given}, but it is not given: machines without a network get "
            "a finished run, as hv course kits/ --run demo --room"
        )
    need_room(folder)
    finished = Run.open(_run_folder(name)) if name else None
    options = {"run": finished, "echo": _say}
    if room:
        options["complete"] = _prepared_room(finished, targets).write
    _say(f"kits: {write_course(folder, sheets(), **options)}")


def _prepared_room(run, targets):
    """Return the room with its wheels and the run's book: what can fail, before the long work."""
    from hv_utils.chain.book import build
    from hv_utils.classroom.machines import Room
    from hv_utils.classroom.wheels import Target
    from hv_utils.ground.locks import locked

    wanted = [Target.named(one) for one in targets] or [Target.here()]
    with locked(run.folder):
        html = build(run, echo=_say).parent
    made = Room(run, html, wanted, echo=_say)
    made.fetch()
    return made


@hv.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="Write the table there.")
@click.option(
    "--cam", type=click.Path(file_okay=False), help="Write Grad-CAM overlays into that folder."
)
@click.option(
    "--model",
    type=click.Path(),
    help="An exported model.onnx.  [default: the shipped one, else runs/demo/model.onnx]",
)
@of_known_scale
@click.option("--why", is_flag=True, help="Say in words what each cell looks like.")
@click.option(
    "--coverage",
    type=float,
    metavar="SHARE",
    help="How often the set of classes that cannot be excluded is to hold the true one; shows it.  "
    "[default: 0.9, in the table of --csv]",
)
@click.option(
    "--batch-size", default=4, show_default=True, type=click.IntRange(1), help="Images of one call."
)
@click.option(
    "--out",
    type=click.Path(),
    help="For very many images: write the table there, a folder of Parquet parts.",
)
@click.option(
    "--part-size", type=click.IntRange(1), metavar="N", help="Images of a part.  [default: 500]"
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Let the workers of that Dask scheduler make the parts.  [default: the cores here]",
)
def predict(
    paths,
    csv_path,
    cam,
    model,
    um_per_pixel,
    why,
    coverage,
    batch_size,
    out,
    part_size,
    scheduler,
) -> None:
    """Label images: files, folders (with all below them) and patterns.

    Finds the white cells of each picture, a close crop or a whole field, and prints one row per
    cell, or of many the first and a summary; a model of whole pictures gives one row per image.
    Besides a class a row can be "unsure" (its probability is too low to be relied on, or the cell
    is cut off), "not_a_cell" (not like a single white cell) or "unreadable". An image that cannot
    be read keeps its row, the reason goes to the error stream, the others still get their verdict,
    and the exit status is 1.

    With --why the nucleus, the granules and the cytoplasm that speak for the class are named; where
    they speak for another class, that is said. They are the model's own impression of the cell.

    With --csv every row is kept as it comes. After Ctrl-C, a kill or a full disk the same command
    goes on from there, as long as images and model are the same.

    With --out the same table is a folder of Parquet files of 500 images each, made side by side;
    memory does not grow with their number. After a stop the same command keeps the parts that are
    there. PATHS may then be addresses, such as s3://bucket/folder or https://host/cell.png; name a
    folder rather than a pattern where there are very many. With --scheduler the workers of a Dask
    scheduler make the parts: they need the same version of hematovision, and must see the images.
    """
    from hv_utils.inference.familiarity import alarm

    options = {"model": model, "um_per_pixel": um_per_pixel, "why": why, "coverage": coverage}
    options |= {"batch_size": batch_size}
    options["complain"] = lambda line: _say(f"hv: {line}", sys.stderr)
    if out:
        _refuse_beside("--out", {"--csv": csv_path, "--cam": cam})
        from hv_utils.inference.part_folder import PART_IMAGES, label_into_parts

        options |= {"part_size": part_size or PART_IMAGES, "scheduler": scheduler}
        report = label_into_parts(paths, out=out, **options)
    else:
        _need_out({"--scheduler": scheduler, "--part-size": part_size}, paths)
        from hv_utils.inference.labelling import label_images

        report = label_images(paths, csv=csv_path, cam=cam, **options)
    _say(report.text())
    if warning := alarm(report.familiarity):
        _say(f"hv: {warning}", sys.stderr)
    for what, where in (("table", csv_path), ("overlays", cam), ("parts", out)):
        if where:
            _say(f"{what}: {where}")
    if report.counts["unreadable"]:
        sys.exit(1)


def _refuse_beside(one: str, others: dict) -> None:
    for name, value in others.items():
        if value:
            raise HematoVisionError(
                f"expected {one} or {name}, but got both: give two commands, one with each"
            )


def _need_out(options: dict, paths: tuple[str, ...]) -> None:
    given = [name for name, value in options.items() if value]
    given += [path for path in paths if "://" in path and not Path(path).exists()]
    if given:
        raise HematoVisionError(
            f"expected --out beside {given[0]}, but it is not given: name a folder for the parts"
        )


@hv.command()
@click.argument("fields", nargs=-1, required=True)
@click.option(
    "--csv", "csv_path", type=click.Path(dir_okay=False), help="Write a row a cell there."
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), help="Write counts and limits there."
)
@click.option(
    "--overlays", type=click.Path(file_okay=False), help="Write the fields, cells outlined, there."
)
@click.option("--model", type=click.Path(), help="A model of cells.  [default: the shipped one]")
@of_known_scale
@click.option(
    "--shapes",
    type=click.Path(),
    help="Name red cells by shape, with this model of hv run --profile redcells.",
)
@click.option(
    "--doubtful",
    type=click.Choice(["apart", "left-out", "shared-out"]),
    default="apart",
    show_default=True,
    help="Unsure cells: a row of their own, left out of the shares, or shared out by probability.",
)
@click.option(
    "--rebalance",
    is_flag=True,
    help="Show shares corrected for the class balance of the model's training, too.",
)
def count(fields, csv_path, json_path, **options) -> None:
    """Count the cells of whole photographs: files, folders and patterns.

    Finds white cells, red cells and platelets, names the white ones, and prints the differential:
    counts and shares with the exact limits that counting so many cells leaves. Unsure cells and
    what is no cell are counted apart. White cells and platelets per red cells are ratios in these
    fields, no concentrations.

    A field that is blank, out of focus or too thick to count is told on the error stream, and so
    is every erythroblast and immature granulocyte. One that cannot be read is left out, and the
    exit status is 1. Nothing here is for diagnosis.

    With --csv every row is kept as it comes, and after a stop the same command goes on.
    """
    from hv_utils.inference.counting import count_fields

    found = count_fields(
        fields,
        csv=csv_path,
        json=json_path,
        **options,
        complain=lambda line: _say(f"hv: {line}", sys.stderr),
    )
    _say(found.text())
    for what, where in (
        ("table", csv_path),
        ("counts", json_path),
        ("overlays", options["overlays"]),
    ):
        if where:
            _say(f"{what}: {where}")
    if found.unreadable:
        sys.exit(1)


@hv.command()
@click.argument("labelled", type=click.Path())
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), help="Write the adapted model there."
)
@click.option(
    "--model", type=click.Path(), help="The model to adapt.  [default: that of hv predict]"
)
@click.option("--groups", help="Which pictures belong together: a table, or a pattern over names.")
@of_known_scale
def adapt(labelled, out, model, groups, um_per_pixel) -> None:
    """Adapt the model to your laboratory, from 5 to 100 labelled cells, in seconds.

    LABELLED is a folder with one sub-folder a class, or a CSV file with the columns file and label,
    and perhaps group (the smear or the patient); x and y name one of several cells in a picture, as
    hv review writes it. Prints scores before and after, cross-validated
    group by group. The adapted model works wherever --model does.
    """
    from hv_utils.studies.adaptation import adapt as adapt_model

    found = adapt_model(labelled, out, model=model, groups=groups, um_per_pixel=um_per_pixel)
    for line in found.left_out:
        _say(f"hv: {line}", sys.stderr)
    _say(found.text())


@hv.command()
@click.argument("verdicts", type=click.Path())
@click.option(
    "--out", default="review.html", show_default=True, type=click.Path(dir_okay=False), help="Page."
)
@click.option("--blind", is_flag=True, help="Begin with the verdicts hidden: for a second reader.")
@of_known_scale
def review(verdicts, out, blind, um_per_pixel) -> None:
    """Write a page on which a person looks through verdicts and corrects them.

    VERDICTS is the table of hv predict --csv or hv count --csv. The page holds the cells, the most
    doubtful first; it opens from disk, needs no network, and keeps what was done in the browser
    and in files that it saves.
    """
    from hv_utils.serve.review import write_review

    written = write_review(verdicts, out, blind=blind, um_per_pixel=um_per_pixel)
    for line in written.notes:
        _say(f"hv: {line}", sys.stderr)
    _say(written.text())


@hv.command()
@click.argument("page", type=click.Path(dir_okay=False))
@click.argument("answers", nargs=-1, type=click.Path())
@click.option(
    "--run", "name", help="Folder below runs/ whose test cells are shown.  [default: demo]"
)
@click.option(
    "--archive", type=click.Path(), help="Show the real set's test cells, from its zip or folder."
)
@click.option(
    "--cells", type=click.IntRange(4, 400), help="How many.  [default: 100, or all if fewer]"
)
@click.option(
    "--share",
    "shares",
    type=(str, float),
    multiple=True,
    metavar="CLASS SHARE",
    help="Of a class among the cells; once for each.  [default: as even as can be]",
)
@click.option("--seconds", type=click.FloatRange(1, 600), help="For each cell.  [default: 8]")
@click.option("--seed", type=int, help="Draws the cells.  [default: 0]")
@click.option("--gather", is_flag=True, help="Gather the files that readers of PAGE have saved.")
@click.option("--out", type=click.Path(dir_okay=False), help="With --gather: the table (CSV).")
def versus(page, answers, name, archive, gather, out, **options) -> None:
    """Write a page on which one names cells under time, and is compared with the model.

    \b
    hv versus versus.html --run demo
    hv versus versus.html --gather answers/*.json --out class.csv

    PAGE opens from disk and needs no network. Its cells are test cells, one picture of each, from
    which the model has not learnt. At the end a reader sees who was right where the two differ, and
    can save the answers as a small file without a name.

    With --gather the files of a class, ANSWERS, become a table with the difficulty and the
    discrimination of each cell, and a report beside it with the pictures of the hard ones. A file
    that does not fit is one line, the others count, and the exit status is 1.
    """  # noqa: D301
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    if gather:
        others = {"--run": name, "--archive": archive}
        others |= {f"--{'share' if key == 'shares' else key}": True for key in chosen}
        _gather(page, answers, out, others)
        return
    if answers or out:
        what = "--out" if out else answers[0]
        raise HematoVisionError(
            f"expected --gather beside {what}, but it is not given: add it to gather answers"
        )
    _refuse_beside("--archive", {"--run": archive and name})
    from hv_utils.ground.runs import Run
    from hv_utils.serve.held_out import from_archive, from_run
    from hv_utils.serve.versus import write_versus

    seed = {"seed": chosen.get("seed", 0)}
    if archive:
        held_out = from_archive(archive, **seed)
    else:
        held_out = from_run(Run.open(_run_folder(name or "demo")), **seed)
    if "cells" in chosen:
        chosen["count"] = chosen.pop("cells")
    if "shares" in chosen:
        chosen["shares"] = dict(chosen["shares"])
    _say(write_versus(page, held_out, **chosen).text())


def _gather(page: str, answers: tuple[str, ...], out: str | None, others: dict) -> None:
    from hv_utils.serve.versus import read_versus
    from hv_utils.studies.readings import gather
    from hv_utils.studies.readings_report import write_readings

    _refuse_beside("--gather", others)
    if not answers or not out:
        what = "the files that readers saved" if not answers else "--out for the table"
        raise HematoVisionError(
            f"expected {what}, but got none: hv versus {page} --gather answers/*.json "
            "--out class.csv"
        )
    found = gather(read_versus(page), answers)
    table, report = write_readings(found, out)
    for line in found.refused:
        _say(f"hv: {line}", sys.stderr)
    for line in found.notes:
        _say(f"note: {line}")
    _say(found.text())
    _say(f"table: {table}")
    _say(f"report: {report}")
    if found.refused:
        sys.exit(1)


@hv.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--token",
    envvar="HV_TOKEN",
    help="What requests must bear; needed where others can reach the service. Better in HV_TOKEN.",
)
@click.option("--model", type=click.Path(), help="An exported model.onnx.  [as hv predict]")
@of_known_scale
@click.option("--why", is_flag=True, help="Say in words what each cell looks like.")
@click.option("--coverage", type=float, metavar="SHARE", help="Of the sets, as hv predict has it.")
@click.option(
    "--batch-size", default=4, show_default=True, type=click.IntRange(1), help="Images of one call."
)
@click.option("--max-files", default=100, show_default=True, help="Pictures of one request.")
@click.option("--max-mb", default=64.0, show_default=True, help="Megabytes of one request.")
@click.option("--max-megapixels", default=40.0, show_default=True, help="Of one picture.")
@click.option("--queue", default=256, show_default=True, help="Pictures that may wait.")
@click.option(
    "--timeout", default=30.0, show_default=True, help="Seconds to send, and to be answered."
)
def serve(port, host, token, max_files, max_mb, max_megapixels, queue, timeout, **options) -> None:
    """Serve a page and an API on this machine: pictures in, the table of hv predict out.

    \b
    curl -F files=@a.png -F files=@b.png http://127.0.0.1:8000/predict

    Nothing is written to the disk or kept, and no other host is asked. One line of JSON a request
    goes to the error stream, without file names. On SIGTERM or Ctrl-C what was taken is finished.
    Elsewhere than on 127.0.0.1 a token is needed, and something in front that encrypts.
    """  # noqa: D301
    try:
        from hv_utils.serve import server
        from hv_utils.serve.service import create_app
    except ModuleNotFoundError as error:
        raise HematoVisionError(
            f"expected the packages of the service, but {error.name} is not installed: "
            "pip install 'hematovision[serve]', or in the project's folder "
            "pip install -e '.[serve]'"
        ) from error
    from hv_utils.serve.limits import Limits
    from hv_utils.serve.works import Model

    server.check_token(host, token)
    limits = Limits(max_files, max_mb, max_megapixels, queue, timeout)
    model = Model.open(options.pop("model"), **options)
    hosts = server.LOOPBACK_NAMES if server.is_loopback(host) else None
    app = create_app(model, limits=limits, token=token, hosts=hosts)
    server.serve(app, server.listen(host, port), limits, say=lambda line: _say(f"hv: {line}"))


@hv.command()
def doctor() -> None:
    """Say in plain words what is missing here, and how long the demo will take.

    Looks at Python, the packages, the permission to write, space, memory, cores, browser and proxy,
    and tries for a few seconds how fast the machine is. Nothing is changed or sent anywhere. The
    exit status is 1 where something essential is missing.
    """
    from hv_utils.chain.doctor import MISSING, examine, text

    found = examine()
    _say(text(found))
    if any(one.state == MISSING for one in found):
        sys.exit(1)


def _say(line: str, stream: TextIO | None = None) -> None:
    """Print a line while somebody reads: behind `| head` the rest is silence, and work goes on."""
    stream = stream or sys.stdout
    try:
        click.echo(line, file=stream)
    except BrokenPipeError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@hv.group(cls=Group)
def data() -> None:
    """Look at data sets and prepare them."""


@data.command()
@click.option("--archive", required=True, help="The data set's zip file or unpacked folder.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the source map there (CSV).")
@click.option(
    "--overlaps",
    type=click.Path(dir_okay=False),
    help="Write the pairs of photos that show the same field there (CSV).",
)
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one a core]")
def sources(archive, out, overlaps, workers) -> None:
    """Recover the source photo of every augmented copy of an archive."""
    from hv_utils.data.archive import open_archive
    from hv_utils.data.overlaps import write_overlaps
    from hv_utils.data.recovery import recover_sources, recovery_report
    from hv_utils.data.source_map import write_map

    root, _ = open_archive(archive)
    table = recover_sources(root, workers=workers)
    report = recovery_report(table)
    click.echo(f"{report['assigned']:,} of {report['images']:,} images assigned to their photo")
    for split, counts in report["photos_per_class"].items():
        click.echo(f"{split}: " + ", ".join(f"{n} {label}" for label, n in counts.items()))
    shared = report["groups_on_both_sides"]
    click.echo(f"fields shown in TRAIN and in TEST: {', '.join(shared) or 'none'}")
    for path, reason in report["unknown"].items():
        click.echo(f"unknown: {path}: {reason}")
    if out:
        write_map(table, Path(out))
        click.echo(f"map: {out}")
    if overlaps:
        write_overlaps(table.attrs["overlaps"], overlaps)
        click.echo(f"overlaps: {overlaps}")


def _heed_signals() -> list[int]:
    """Let SIGTERM and SIGHUP stop the command as Ctrl-C does; the last in the list did it."""
    received = [signal.SIGINT]

    def stop(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup keeps it away
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    return received


def main() -> None:
    """Run the command; a user's mistake or a stop is one line and a non-zero status."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # a log file or a console may know few letters
    received = _heed_signals()
    try:
        sys.exit(hv.main(prog_name="hv", standalone_mode=False) or 0)
    except HematoVisionError as error:
        click.echo(f"hv: {error}", err=True)
        sys.exit(1)
    except (click.exceptions.Abort, KeyboardInterrupt):
        kept = sys.argv[1:2] in (["run"], ["sweep"])
        kept |= any(word.startswith(("--csv", "--out")) for word in sys.argv)
        resumes = "; the same command resumes" if kept else ""
        if resumes and (forced := sorted({"--force", "--from"} & set(sys.argv))):
            resumes += f", without {' and '.join(forced)}"
        with suppress(OSError):  # the terminal may be gone
            click.echo(f"hv: stopped{resumes}", err=True)
        sys.exit(STOPPED_BY + received[-1])
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # nobody reads what is printed
        for stream in (sys.stdout, sys.stderr):
            _silence(stream)
        sys.exit(1)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        click.echo(
            f"hv: expected room and permission to write, but {error.filename or 'the disk'} "
            f"refuses it ({error.strerror}): make room or mend the permissions; what was finished "
            "is kept, and the same command goes on",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
