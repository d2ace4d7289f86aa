"""The demo: the real data set in miniature, drawn from a seed, with the truth beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hv_utils.drawn import drawing, nucleus, smear, white_cell
from hv_utils.drawn.smear import Photo, draw_photo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images import labels
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import COPY_SIZE
from hv_utils.images.voc import WHITE_CELL, Box, write_boxes

PHOTOS = {"eosinophil": 40, "lymphocyte": 20, "monocyte": 16, "neutrophil": 64}
JPEG_QUALITY = 95
BACKGROUND, CYTOPLASM, NUCLEUS = 0, 128, 255
DOUBTFUL = ("blank", "several", "blank", "several")
LEAST_PHOTOS = 4
"""Photos that a class must have: two to test on, and two to train and validate on."""


def make_demo(
    root: Path,
    *,
    seed: int = 0,
    photos: Mapping[str, int] | None = None,
    copies_train: int = 130,
    copies_test: int = 50,
    test_fraction: float = 0.2,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Path:
    """Draw the data set in miniature, in the folder layout of the real archive.

    What the authors of the real set did is done here too: too few and imbalanced photos, an 80/20
    split of the photos, then augmentation to equal numbers, with black borders and file names
    whose first number is a position in a shuffled pass and not the photo. What the real set lacks
    is added in `truth/`: the source photo and affine map of every copy, and masks.

    Parameters
    ----------
    root : Path
        The folder to make. One that was made with the same arguments by the same code is left as
        it is; another demo is replaced.
    seed : int
    photos : mapping of str to int, optional
        Photos to draw of each class, at least `LEAST_PHOTOS`; default `PHOTOS`.
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
        For too few photos or copies, a class that cannot be drawn, or a `root` that holds
        something other than a demo.
    """
    root, photos = Path(root), dict(photos or PHOTOS)
    _check_sizes(photos, copies_train, copies_test)
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
        rows = _rows_of_labels(photos, rng)
        drawn = _draw_originals(partial, rows, rng, progress)
        truth = _make_copies(
            partial,
            drawn,
            _split(drawn, test_fraction, rng),
            {"TRAIN": copies_train, "TEST": copies_test},
            rng,
        )
        (partial / "truth").mkdir(exist_ok=True)
        pd.DataFrame(truth).to_csv(partial / "truth" / "truth.csv", index=False)
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


def _check_sizes(photos: Mapping[str, int], *copies: int) -> None:
    few = [f"{label}: {count}" for label, count in photos.items() if count < LEAST_PHOTOS]
    if few or min(copies) < 1:
        came = ", ".join(few) or f"{min(copies)} copies"
        raise HematoVisionError(
            f"expected at least {LEAST_PHOTOS} photos and one copy of every class, but got {came}: "
            "fewer leave a split without a cell; raise demo_photos, copies_train or copies_test"
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
    modules = (labels, drawing, nucleus, white_cell, smear)
    sources = [Path(file).read_bytes() for file in (*(m.__file__ for m in modules), __file__)]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _rows_of_labels(photos: Mapping[str, int], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return (class to draw, doubt) of each photo, in an order that tells nothing."""
    rows = [(label, "") for label, count in photos.items() for _ in range(count)]
    rows += [(str(rng.choice(list(photos))), doubt) for doubt in DOUBTFUL]
    return [rows[index] for index in rng.permutation(len(rows))]


def _draw_originals(
    root: Path,
    rows: list[tuple[str, str]],
    rng: np.random.Generator,
    progress: Callable[[Iterable], Iterable] | None,
) -> dict[str, tuple[str, Photo]]:
    """Draw the photos with annotations and labels.csv; return the usable ones by number."""
    base = root / "dataset-master" / "dataset-master"
    for name in ("JPEGImages", "Annotations"):
        (base / name).mkdir(parents=True)
    masks = root / "truth" / "masks" / "photos"
    masks.mkdir(parents=True)
    usable, categories = {}, []
    for number, (label, doubt) in enumerate(progress(rows) if progress else rows):
        photo = draw_photo(label, rng=rng)
        category = label.upper()
        if doubt == "several":
            other = str(rng.choice([name for name in CLASSES if name != label]))
            photo = _with_second_cell(photo, draw_photo(other, rng=rng))
            category = f"{category}, {other.upper()}"
        name = f"BloodImage_{number:05d}"
        _write_jpeg(base / "JPEGImages" / f"{name}.jpg", photo.image)
        size = photo.image.shape[:2]
        write_boxes(
            base / "Annotations" / f"{name}.xml", photo.boxes, photo=f"{name}.jpg", size=size
        )
        cv2.imwrite(str(masks / f"{name}.png"), _mask(photo))
        categories.append(("", number, "" if doubt == "blank" else category))
        if not doubt:
            usable[f"{number:05d}"] = (label, photo)
    table = pd.DataFrame(categories, columns=["", "Image", "Category"])
    second = root / "dataset2-master" / "dataset2-master"
    second.mkdir(parents=True)
    for folder in (base, second):
        # The real file ends its lines in the Windows way; a loader has to cope with that.
        table.to_csv(folder / "labels.csv", index=False, lineterminator="\r\n")
    return usable


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


def _split(
    drawn: Mapping[str, tuple[str, Photo]], test_fraction: float, rng: np.random.Generator
) -> dict[str, dict[str, list[str]]]:
    """Return the photos of each class in TRAIN and in TEST."""
    parts: dict[str, dict[str, list[str]]] = {"TRAIN": {}, "TEST": {}}
    for label in sorted({label for label, _ in drawn.values()}):
        numbers = [number for number, (name, _) in drawn.items() if name == label]
        numbers = [numbers[index] for index in rng.permutation(len(numbers))]
        held_out = max(2, round(test_fraction * len(numbers)))
        parts["TEST"][label] = numbers[:held_out]
        parts["TRAIN"][label] = numbers[held_out:]
    return parts


def _make_copies(
    root: Path,
    drawn: Mapping[str, tuple[str, Photo]],
    parts: Mapping[str, Mapping[str, list[str]]],
    copies: Mapping[str, int],
    rng: np.random.Generator,
) -> list[dict]:
    base = root / "dataset2-master" / "dataset2-master" / "images"
    truth = []
    for part, count in copies.items():
        for label, numbers in parts[part].items():
            names = _file_names(count, len(numbers), rng)
            for (position, name), turn in zip(names, range(count), strict=True):
                if turn % len(numbers) == 0:
                    order = rng.permutation(len(numbers))
                number = numbers[order[position]]
                path = f"{part}/{label.upper()}/{name}"
                affine = _random_affine(rng)
                truth.append(_copy(base, root, path, number, drawn[number][1], affine))
    for label, numbers in parts["TEST"].items():
        names = _file_names(len(numbers), len(numbers), rng)
        for (_, name), number in zip(names, numbers, strict=True):
            path = f"TEST_SIMPLE/{label.upper()}/{name}"
            truth.append(_copy(base, root, path, number, drawn[number][1], np.eye(2, 3)))
    return truth


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


def _copy(base: Path, root: Path, path: str, number: str, photo: Photo, affine: np.ndarray) -> dict:
    """Write one copy and its mask; return its row of the truth."""
    height, width = COPY_SIZE
    size = (width, height)
    small = cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(_mask(photo), size, interpolation=cv2.INTER_NEAREST)
    if not np.array_equal(affine, np.eye(2, 3)):
        small = cv2.warpAffine(small, affine, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(mask, affine, size, flags=cv2.INTER_NEAREST)
    _write_jpeg(base / path, small)
    target = (root / "truth" / "masks" / path).with_suffix(".png")
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), mask)
    entries = {f"a{i}{j}": round(float(affine[i, j]), 5) for i in range(2) for j in range(3)}
    mirrored = bool(np.linalg.det(affine[:, :2]) < 0)
    return {"path": path, "photo": number, "mirrored": mirrored, **entries}


def _mask(photo: Photo) -> np.ndarray:
    mask = np.full(photo.cell_mask.shape, BACKGROUND, np.uint8)
    mask[photo.cell_mask] = CYTOPLASM
    mask[photo.nucleus_mask] = NUCLEUS
    return mask


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
