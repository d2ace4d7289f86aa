"""The Kaggle data set as a folder: found, unpacked or downloaded, and fingerprinted."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint
from hv_utils.ground.runs import PROJECT_ROOT

DATASET = "paultimothymooney/blood-cells"
DATASET_PAGE = f"https://www.kaggle.com/datasets/{DATASET}"
SPLIT_FOLDERS = ("TRAIN", "TEST", "TEST_SIMPLE")
MAX_UNPACKED_BYTES = 4 * 1024**3


def default_cache() -> Path:
    """Return the folder for unpacked archives: `HV_DATA`, or `data/` in the project."""
    return Path(os.environ.get("HV_DATA") or PROJECT_ROOT / "data")


def open_archive(archive: str | Path, *, cache: Path | None = None) -> tuple[Path, dict]:
    """Make an archive of the data set available as a folder.

    Parameters
    ----------
    archive : str or Path
        A zip file, an unpacked folder, or "" for a download from Kaggle.
    cache : Path, optional
        Where a zip is unpacked, under the first digits of its fingerprint, so that the next run
        finds it there. Default: see `default_cache`.

    Returns
    -------
    root : Path
        A folder below which, at any depth, TRAIN and TEST lie.
    facts : dict
        `archive` (file name), `bytes` and `sha256` (of the zip; of the sorted list of file names
        and sizes for a folder).

    Raises
    ------
    HematoVisionError
        Where there is nothing at `archive`, it is no zip, is damaged, holds a path that climbs out
        of its folder, or holds no TRAIN and TEST folder.
    """
    if not str(archive):
        archive = download()
    path = Path(archive).expanduser()
    if path.is_dir():
        root, facts = path, _folder_facts(path)
    elif path.is_file():
        facts = {"archive": path.name, "bytes": path.stat().st_size, "sha256": fingerprint(path)}
        root = (cache or default_cache()) / f"blood-cells-{facts['sha256'][:12]}"
        if not root.is_dir():
            unpack(path, root)
    else:
        raise HematoVisionError(
            f"expected the data set's zip file or unpacked folder, but nothing is at {path}: "
            f"get it from {DATASET_PAGE} and give its path with --archive"
        )
    find_folder(root, "TRAIN")
    return root, facts


def find_folder(root: Path, name: str) -> Path:
    """Return the first folder called `name` at or below `root`.

    Downloads differ in how deep they nest, so no path is fixed.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    for folder, subfolders, _ in os.walk(root):
        subfolders.sort()
        if Path(folder).name == name:
            return Path(folder)
        if name in subfolders:
            return Path(folder) / name
    raise HematoVisionError(
        f"expected a folder {name} somewhere below {root}, but there is none: this is not the "
        f"data set {DATASET}, or it was unpacked only in part; get it from {DATASET_PAGE}"
    )


def unpack(archive: Path, target: Path) -> Path:
    """Unpack a zip file into the folder `target`, whole or not at all.

    Raises
    ------
    HematoVisionError
        Where the file is no zip, is damaged, would leave the folder, or is too large.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(archive) as file:
            _refuse_unsafe(file, archive)
            partial.mkdir(parents=True)
            file.extractall(partial)
        partial.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise HematoVisionError(
            f"expected a whole zip file, but {archive} is not one ({error}): the download was "
            f"probably cut short; fetch it again from {DATASET_PAGE}"
        ) from error
    except RuntimeError as error:  # zipfile's answer to a password
        raise HematoVisionError(
            f"expected a zip file without a password, but {archive} has one ({error}): "
            f"fetch the data set from {DATASET_PAGE}"
        ) from error
    except OSError as error:
        raise HematoVisionError(
            f"could not unpack {archive} into {target.parent} ({error.strerror or error}): "
            "make room or mend the permissions, or set HV_DATA to another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _refuse_unsafe(file: zipfile.ZipFile, archive: Path) -> None:
    for entry in file.infolist():
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
            raise HematoVisionError(
                f"expected every entry of {archive} to stay in its folder, but it holds "
                f"{entry.filename!r}: do not trust this archive; fetch it from {DATASET_PAGE}"
            )
    total = sum(entry.file_size for entry in file.infolist())
    if total > MAX_UNPACKED_BYTES:
        raise HematoVisionError(
            f"expected an archive of at most {MAX_UNPACKED_BYTES >> 30} GiB unpacked, but "
            f"{archive} holds {total / 2**30:.1f} GiB: this is not the data set {DATASET}"
        )


def _folder_facts(folder: Path) -> dict:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    total = 0
    for path in files:
        size = path.stat().st_size
        total += size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
    return {"archive": folder.name, "bytes": total, "sha256": digest.hexdigest()}


def download() -> Path:
    """Download the data set through kagglehub, which caches it, and return its folder.

    Raises
    ------
    HematoVisionError
        Where Kaggle cannot be reached.
    """
    import kagglehub

    print(f"downloading {DATASET} from Kaggle (about 110 MB; kept for the next time)", flush=True)
    try:
        return Path(kagglehub.dataset_download(DATASET))
    except Exception as error:  # kagglehub raises its own, requests' and urllib's errors
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise HematoVisionError(
            f"could not download {DATASET} from Kaggle ({reason}): fetch the zip by hand from "
            f"{DATASET_PAGE}, put it anywhere, and give its path with --archive PATH"
        ) from error
