"""The demo: the real data set in miniature, drawn from a seed, with the truth beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.drawn import drawing, nucleus, plan, smear, variants, white_cell
from hv_utils.drawn.plan import Planned, plan_photos
from hv_utils.drawn.smear import Photo, draw_photo, photograph_again
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores
from hv_utils.images import labels
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import COPY_SIZE
from hv_utils.images.voc import WHITE_CELL, Box, write_boxes

PHOTOS = {"eosinophil": 36, "lymphocyte": 30, "monocyte": 24, "neutrophil": 48}
JPEG_QUALITY = 95
BACKGROUND, CYTOPLASM, NUCLEUS = 0, 128, 255
LEAST_PHOTOS = 4
"""Photos that a class must have: two to test on, and two to train and validate on."""


def make_demo(
    root: Path,
    *,
    seed: int = 0,
    photos: Mapping[str, int] | None = None,
    copies_train: int = 100,
    copies_test: int = 40,
    test_fraction: float = 0.4,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Path:
    """Draw the data set in miniature, in the folder layout of the real archive.

    What the authors of the real set did is done here too: too few and imbalanced photos, a split of
    the photos, then augmentation to equal numbers, with black borders and file names whose first
    number is a position in a shuffled pass and not the photo. What the real set hides is laid out
    by `plan` and told in `truth/`: `truth.csv` has the source photo and affine map of every copy
    with the class and variant that are drawn, the field and the share of the cell inside the frame;
    `photos.csv` has the plan; `masks/` the outlines.

    Parameters
    ----------
    root : Path
        The folder to make. One that was made with the same arguments by the same code is left as
        it is; another demo is replaced.
    seed : int
    photos : mapping of str to int, optional
        Photos labelled with each class, at least `LEAST_PHOTOS`; default `PHOTOS`.
    copies_train, copies_test : int
        Augmented copies of each class in TRAIN and in TEST.
    test_fraction : float
        Share of each class's photos that go to TEST, at least two photos.
    progress : callable, optional
        Wraps the iterable over the photos, like `tqdm.tqdm`.

    Returns
    -------
    Path
        `root`, with `dataset-master`, `dataset2-master` and `truth`, written whole.

    Raises
    ------
    HematoVisionError
        For too few photos or copies, a class that cannot be drawn, a `root` that holds something
        other than a demo, or a disk that takes no more.
    """
    root, photos = Path(root), dict(photos or PHOTOS)
    _check_sizes(photos, test_fraction, copies_train, copies_test)
    _refuse_foreign_folder(root)
    settings = {
        "drawn_by": _code_fingerprint(),
        "seed": seed,
        "photos": photos,
        "copies": [copies_train, copies_test],
        "test_fraction": test_fraction,
    }
    record = root / "truth" / "settings.json"
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) == settings:
        return root
    partial = root.with_name(f".{root.name}.{os.getpid()}.part")
    former = root.with_name(f".{root.name}-former.{os.getpid()}.part")
    _remove(partial, former)
    try:
        rng = np.random.default_rng(seed)
        planned = plan_photos(photos, test_fraction=test_fraction, rng=rng)
        drawn = _draw_originals(partial, planned, seed, progress)
        wanted = _plan_copies(planned, {"TRAIN": copies_train, "TEST": copies_test}, rng)
        _make_copies(partial, planned, drawn, wanted)
        _write_plan(partial, planned)
        (partial / "truth" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        if root.exists():
            root.replace(former)  # half deleted it would be taken for something else
        partial.replace(root)
    finally:
        _remove(partial, former)
    return root


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _check_sizes(photos: Mapping[str, int], test_fraction: float, *copies: int) -> None:
    few = [f"{label}: {count}" for label, count in photos.items() if count < LEAST_PHOTOS]
    if few or min(copies) < 1:
        came = ", ".join(few) or f"{min(copies)} copies"
        raise HematoVisionError(
            f"expected at least {LEAST_PHOTOS} photos and one copy of every class, but got {came}: "
            "fewer leave a split without a cell; raise demo_photos, copies_train or copies_test"
        )
    least = min(photos.values())
    if not 0 < test_fraction < 1 or least - round(test_fraction * least) < 2:
        raise HematoVisionError(
            f"expected a share of the photos for TEST that leaves two of {least} to learn from, "
            f"got {test_fraction}: take another demo_test, such as 0.4, or raise demo_photos"
        )


def _refuse_foreign_folder(root: Path) -> None:
    """Refuse to replace what is no demo: the old folder is deleted."""
    if root.exists() and not (root / "truth" / "settings.json").exists():
        if root.is_dir() and not any(root.iterdir()):
            return
        raise HematoVisionError(
            f"expected a new folder or an earlier demo at {root}, but it holds something else: "
            "it would be deleted; choose another folder or move it away"
        )


def _code_fingerprint() -> str:
    """Return a SHA-256 of the modules that draw, so that a change in them draws anew."""
    modules = (labels, drawing, plan, variants, nucleus, white_cell, smear)
    sources = [Path(file).read_bytes() for file in (*(m.__file__ for m in modules), __file__)]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _draw_originals(
    root: Path,
    planned: Sequence[Planned],
    seed: int,
    progress: Callable[[Iterable], Iterable] | None,
) -> list[Photo]:
    """Draw the photos with annotations and labels.csv."""
    base = root / "dataset-master" / "dataset-master"
    masks = root / "truth" / "masks" / "photos"
    for folder in (base / "JPEGImages", base / "Annotations", masks):
        folder.mkdir(parents=True)

    def draw(number: int) -> Photo:
        photo = _draw(planned, number, seed)
        name = f"BloodImage_{number:05d}"
        _write_jpeg(base / "JPEGImages" / f"{name}.jpg", photo.image)
        size = photo.image.shape[:2]
        write_boxes(
            base / "Annotations" / f"{name}.xml", photo.boxes, photo=f"{name}.jpg", size=size
        )
        _write(masks / f"{name}.png", _mask(photo))
        return photo

    with ThreadPoolExecutor(cores()) as pool:
        photos: Iterable[Photo] = pool.map(draw, range(len(planned)))
        return list(progress(photos) if progress else photos)


def _draw(planned: Sequence[Planned], number: int, seed: int) -> Photo:
    one = planned[number]
    photo = draw_photo(
        one.drawn_as, rng=np.random.default_rng((seed, one.field)), variant=one.variant
    )
    rng = np.random.default_rng((seed, number, len(planned)))
    if one.field in {other.field for other in planned[:number]}:
        photo = photograph_again(photo, rng=rng)
    if one.doubt == "several":
        photo = _with_second_cell(photo, draw_photo(_second_class(one.label), rng=rng))
    return photo


def _second_class(label: str) -> str:
    """Return the class of the other cell where a photo shows two."""
    return CLASSES[CLASSES.index(label) - 1]


def _with_second_cell(photo: Photo, other: Photo) -> Photo:
    """Lay the white cell of `other` over the free corner of `photo`."""
    ys, xs = np.nonzero(other.cell_mask)
    height, width = photo.cell_mask.shape
    own_ys, own_xs = np.nonzero(photo.cell_mask)
    to_y = height // 5 if own_ys.mean() > height / 2 else 4 * height // 5
    to_x = width // 5 if own_xs.mean() > width / 2 else 4 * width // 5
    new_ys, new_xs = ys + to_y - int(ys.mean()), xs + to_x - int(xs.mean())
    inside = (new_ys >= 0) & (new_ys < height) & (new_xs >= 0) & (new_xs < width)
    image = photo.image.copy()
    image[new_ys[inside], new_xs[inside]] = other.image[ys[inside], xs[inside]]
    corners = {
        "xmin": max(int(new_xs.min()), 0),
        "ymin": max(int(new_ys.min()), 0),
        "xmax": min(int(new_xs.max()), width - 1),
        "ymax": min(int(new_ys.max()), height - 1),
    }
    box = Box(WHITE_CELL, **corners)
    return Photo(image, photo.nucleus_mask, photo.cell_mask, [*photo.boxes, box])


def _write_plan(root: Path, planned: Sequence[Planned]) -> None:
    """Write labels.csv as the set has it, and the truth beside it."""
    rows = []
    for number, one in enumerate(planned):
        named = [one.label, *([_second_class(one.label)] if one.doubt == "several" else [])]
        category = "" if one.doubt == "blank" else ", ".join(named).upper()
        rows.append(("", number, category))
    table = pd.DataFrame(rows, columns=["", "Image", "Category"])
    for name in ("dataset-master", "dataset2-master"):
        # The real file ends its lines in the Windows way; a loader has to cope with that.
        table.to_csv(root / name / name / "labels.csv", index=False, lineterminator="\r\n")
    truth = pd.DataFrame([{"photo": f"{n:05d}", **asdict(one)} for n, one in enumerate(planned)])
    truth["field"] = truth.groupby("field")["photo"].transform("first")
    truth.to_csv(root / "truth" / "photos.csv", index=False)


def _plan_copies(
    planned: Sequence[Planned], copies: Mapping[str, int], rng: np.random.Generator
) -> list[tuple[str, int, np.ndarray]]:
    """Return (path, number of the photo, affine map) of every copy."""
    wanted = []
    for part, count in copies.items():
        for label in dict.fromkeys(sorted(one.label for one in planned)):
            numbers = [n for n, one in enumerate(planned) if (one.part, one.label) == (part, label)]
            for turn, (position, name) in enumerate(_file_names(count, len(numbers), rng)):
                if turn % len(numbers) == 0:
                    order = rng.permutation(numbers)
                path = f"{part}/{label.upper()}/{name}"
                wanted.append((path, int(order[position]), _random_affine(rng)))
            if part == "TEST":
                names = _file_names(len(numbers), len(numbers), rng)
                for (_, name), number in zip(names, numbers, strict=True):
                    wanted.append((f"TEST_SIMPLE/{label.upper()}/{name}", number, np.eye(2, 3)))
    return wanted


def _file_names(count: int, n_photos: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """Return positions in the pass and names like `_3_812.jpeg`, no name twice."""
    tails = rng.choice(10_000, size=count, replace=False)
    return [(k % n_photos, f"_{k % n_photos}_{tails[k]}.jpeg") for k in range(count)]


def _random_affine(rng: np.random.Generator) -> np.ndarray:
    """Return a map as the authors of the real set drew them, about the middle of the image."""
    height, width = COPY_SIZE
    angle = np.deg2rad(rng.uniform(-20, 20))
    shear = np.deg2rad(rng.uniform(-8, 8))
    zoom_x, zoom_y = rng.uniform(0.95, 1.05, size=2)
    flip_x, flip_y = rng.choice([-1, 1], size=2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, -np.sin(shear)], [0, np.cos(shear)]])
    linear = linear @ np.diag([flip_x * zoom_x, flip_y * zoom_y])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = rng.uniform(-0.1, 0.1, size=2) * (width, height)
    return np.column_stack([linear, middle + shift - linear @ middle])


def _make_copies(
    root: Path,
    planned: Sequence[Planned],
    drawn: Sequence[Photo],
    wanted: Sequence[tuple[str, int, np.ndarray]],
) -> None:
    """Write the copies, their masks and truth.csv."""
    base = root / "dataset2-master" / "dataset2-master" / "images"
    size = COPY_SIZE[::-1]
    small = [cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA) for photo in drawn]
    masks = [cv2.resize(_mask(photo), size, interpolation=cv2.INTER_NEAREST) for photo in drawn]
    fields = [one.field for one in planned]

    def copy(path: str, number: int, affine: np.ndarray) -> dict:
        image, mask = small[number], masks[number]
        if not np.array_equal(affine, np.eye(2, 3)):
            image = cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR)
            mask = cv2.warpAffine(mask, affine, size, flags=cv2.INTER_NEAREST)
        _write_jpeg(base / path, image)
        _write((root / "truth" / "masks" / path).with_suffix(".png"), mask)
        area = float(np.linalg.det(affine[:, :2]))
        inside = (mask > 0).sum() / ((masks[number] > 0).sum() * abs(area))
        one = planned[number]
        return {
            "path": path,
            "photo": f"{number:05d}",
            "mirrored": area < 0,
            **{f"a{i}{j}": round(float(affine[i, j]), 5) for i in range(2) for j in range(3)},
            "drawn_as": one.drawn_as,
            "variant": one.variant,
            "field": f"{fields.index(one.field):05d}",
            "inside": round(min(inside, 1.0), 2),
        }

    with ThreadPoolExecutor(cores()) as pool:
        truth = list(pool.map(copy, *zip(*wanted, strict=True)))
    pd.DataFrame(truth).to_csv(root / "truth" / "truth.csv", index=False)


def _mask(photo: Photo) -> np.ndarray:
    mask = np.full(photo.cell_mask.shape, BACKGROUND, np.uint8)
    mask[photo.cell_mask] = CYTOPLASM
    mask[photo.nucleus_mask] = NUCLEUS
    return mask


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    _write(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)


def _write(path: Path, image: np.ndarray, *options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, options):
        raise HematoVisionError(
            f"expected room for the drawn image {path}, but it could not be written: "
            "the disk is full or may not be written; make room or choose another run folder"
        )
