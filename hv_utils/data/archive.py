"""Archives and folders alike: an archive is unpacked once, under its fingerprint."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import platform
import re
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below, fingerprint, is_system
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.images.listing import IMAGE_SUFFIXES

MAX_UNPACKED_BYTES = 4 * 1024**3
ZIP = b"PK"
OTHERS = {b"7z": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
INNER = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
ENCRYPTED = 0x1
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    EOFError,
)


def default_cache() -> Path:
    """Return the folder for unpacked archives: `HV_DATA`, or `data/` in the project."""
    return Path(os.environ.get("HV_DATA") or PROJECT_ROOT / "data")


def open_archive(archive: str | Path, *, cache: Path | None = None) -> tuple[Path, dict]:
    """Make an archive available as a folder.

    Parameters
    ----------
    archive : str or Path
        A zip file, a tar file (.tar, .tar.gz, .tgz, .tar.bz2, .tar.xz) or a folder.
    cache : Path, optional
        Where an archive is unpacked, under the first digits of its fingerprint, so that the next
        run finds it there. Default: see `default_cache`.

    Returns
    -------
    root : Path
        The folder.
    facts : dict
        `archive` (its name), `bytes` and `sha256` (of the archive; of the sorted list of file
        names and sizes for a folder).

    Raises
    ------
    HematoVisionError
        Where there is nothing at `archive`, or it cannot be unpacked, see `unpack`.
    """
    path = Path(archive).expanduser().absolute()
    if path.is_dir():
        return path, _folder_facts(path)
    if not path.is_file():
        raise HematoVisionError(
            f"expected an archive or an unpacked folder, but nothing is at {path}: check the path"
        )
    facts = {"archive": path.name, "bytes": path.stat().st_size, "sha256": fingerprint(path)}
    cache, short = cache or default_cache(), facts["sha256"][:12]
    had = sorted(cache.glob(f"*-{short}"))
    return (had[0] if had else unpack(path, cache / f"{path.name.split('.')[0]}-{short}")), facts


def unpack(archive: Path, target: Path) -> Path:
    """Unpack a zip or tar file into the folder `target`, whole or not at all.

    Hidden and system files stay out, see `files.is_system`.

    Raises
    ------
    HematoVisionError
        Where the file is no such archive, is damaged or locked by a password, would leave the
        folder, is too large, or holds but further archives.
    """
    with archive.open("rb") as file:
        start = file.read(8)
    kind = next((name for magic, name in OTHERS.items() if start.startswith(magic)), None)
    if kind:
        raise HematoVisionError(
            f"expected a zip or tar file, but {archive} is a {kind} archive: "
            "unpack it by hand and give the folder"
        )
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        partial.mkdir(parents=True)
        (_unpack_zip if start.startswith(ZIP) else _unpack_tar)(archive, partial)
        partial.replace(target)
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HematoVisionError(
            f"expected a whole zip or tar file, but {archive} is not one ({reason}): "
            "the download was probably cut short; fetch it again"
        ) from error
    except OSError as error:
        raise HematoVisionError(
            f"could not unpack {archive} into {target.parent} ({error.strerror or error}): "
            "make room or mend the permissions, or set HV_DATA to another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _unpack_zip(archive: Path, target: Path) -> None:
    gate = _Gate(archive)
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():  # some programs of Windows write backslashes
            entry.filename = entry.filename.replace("\\", "/")
        entries = [one for one in file.infolist() if gate.admits(one.filename, one.file_size)]
        gate.close()
        if any(entry.flag_bits & ENCRYPTED for entry in entries):
            raise HematoVisionError(
                f"expected an archive without a password, but {archive} has one: "
                "unpack it by hand and give the folder"
            )
        try:
            file.extractall(target, entries)
        except NotImplementedError as error:
            raise HematoVisionError(
                f"expected an archive packed in the usual way, but {archive} is not ({error}): "
                "unpack it by hand and give the folder"
            ) from error


def _unpack_tar(archive: Path, target: Path) -> None:
    if not hasattr(tarfile, "data_filter"):  # before 3.11.4
        raise HematoVisionError(
            f"expected Python 3.11.4 or newer to unpack {archive} safely, but this is "
            f"{platform.python_version()}: pack it as zip, or unpack it and give the folder"
        )
    gate = _Gate(archive)
    with tarfile.open(archive) as file:
        for member in file:
            if gate.admits(member.name, member.size):
                try:
                    file.extract(member, target, filter="data")
                except tarfile.FilterError as error:
                    raise _unsafe(archive, member.name) from error
        gate.close()
        # Behind the last entry stand two blocks of zeros, of which one has been read by now.
        rest = sum(map(len, iter(lambda: file.fileobj.read(1 << 20), b"")))
        if not rest:
            raise EOFError("it has no end")


class _Gate:
    """Lets the entries of an archive pass one by one, and refuses an archive that does harm."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.total = 0
        self.has_images = False
        self.inner = ""

    def admits(self, name: str, size: int) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
            raise _unsafe(self.archive, name)
        self.total += size
        if self.total > MAX_UNPACKED_BYTES:
            raise HematoVisionError(
                f"expected an archive of at most {MAX_UNPACKED_BYTES >> 30} GiB unpacked, but "
                f"{self.archive} holds more: unpack it by hand and give the folder"
            )
        if any(map(is_system, path.parts)):
            return False
        self.has_images |= path.suffix.lower() in IMAGE_SUFFIXES
        self.inner = self.inner or (name if path.suffix.lower() in INNER else "")
        return True

    def close(self) -> None:
        if self.inner and not self.has_images:
            raise HematoVisionError(
                f"expected an archive of images, but {self.archive} holds further archives, such "
                f"as {self.inner}: unpack it by hand and give one of these, or their folder"
            )


def _unsafe(archive: Path, name: str) -> HematoVisionError:
    return HematoVisionError(
        f"expected every entry of {archive} to stay in its folder, but it holds {name!r}: "
        "do not trust this archive; fetch it from its maker"
    )


def _folder_facts(folder: Path) -> dict:
    digest, total = hashlib.sha256(), 0
    for path in files_below(folder):
        size = path.stat().st_size if path.exists() else 0
        total += size
        digest.update(os.fsencode(f"{path.relative_to(folder).as_posix()} {size}\n"))
    return {"archive": folder.name, "bytes": total, "sha256": digest.hexdigest()}
