"""Images at an address, such as `s3://bucket/folder`: listed, and copied here to be read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.extras import load
from hv_utils.ground.files import is_system

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # of protocols; of all others `scale`
HERE = ("file", "local")
STAMPS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
TRIES, PAUSE_S = 3, 1.0


def is_address(given: str) -> bool:
    """Tell whether a text names a place by its protocol, and is no path."""
    return ADDRESS.match(given) is not None


def suffix_of(address: str) -> str:
    """Return the ending of the file at an address, in lower case, without what `?` asks of it."""
    return PurePosixPath(urlsplit(address).path).suffix.lower()


def open_store(address: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system behind an address, and the path in it.

    Raises
    ------
    HematoVisionError
        Where nothing that is installed reads such an address.
    """
    protocol = address.partition("://")[0].lower()
    extra = EXTRAS.get(protocol, "scale")
    fsspec = load("fsspec", extra=extra, wanted_for=f"addresses such as {protocol}://")
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:  # names the library that this protocol needs
        raise HematoVisionError(
            f"expected a library for {protocol}:// addresses, but none is installed ({error}): "
            f"pip install '.[{extra}]' in the project's folder"
        ) from error
    except ValueError as error:
        raise HematoVisionError(
            f"expected an address such as s3://, gs:// or https://, but got {address} ({error}): "
            "check the part before ://"
        ) from error


def files_at(address: str) -> Iterator[tuple[str, int | None, str]]:
    """List the files at an address: one file, all below a folder, or those that fit a pattern.

    Hidden and system files and folders are passed over, see `files.is_system`. A store hands out
    a folder at a time, so that memory grows with the largest folder and not with all.

    Parameters
    ----------
    address : str
        A pattern has a `*`.

    Yields
    ------
    tuple
        Address; bytes, None where the store does not tell; a mark that changes when the file does,
        "" where there is none. `file://` gives paths.

    Raises
    ------
    HematoVisionError
        Where nothing is there, or it cannot be looked up.
    """
    store, path = open_store(address)
    found = False
    try:
        for facts in _facts_at(store, path, address):
            found = True
            stamp = next((str(facts[name]) for name in STAMPS if facts.get(name)), "")
            yield _address(store, facts["name"]), facts.get("size"), stamp
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except HematoVisionError:
        raise
    except Exception as error:  # each store has errors of its own
        raise HematoVisionError(
            f"expected images at {address}, but it cannot be looked up "
            f"({_in_a_line(error)}): check the address, the network and your credentials"
        ) from error
    if not found:
        raise HematoVisionError(
            f"expected an image or a folder of images, but nothing is at {address}: "
            "check the address"
        )


def _facts_at(store: AbstractFileSystem, path: str, address: str) -> Iterator[Mapping[str, Any]]:
    if "*" in path:
        found = store.glob(path, detail=True)
        yield from (found[name] for name in sorted(found) if found[name]["type"] == "file")
        return
    if suffix_of(address) and not address.endswith("/"):  # a folder may be called so, too
        facts = store.info(path)
        if facts["type"] == "file":
            yield facts
            return
    for _, folders, files in store.walk(path, detail=True, on_error="raise"):
        for name in [name for name in folders if is_system(name)]:
            del folders[name]
        yield from (facts for name, facts in sorted(files.items()) if not is_system(name))


def _address(store: AbstractFileSystem, name: str) -> str:
    protocols = (store.protocol,) if isinstance(store.protocol, str) else store.protocol
    return name if set(protocols) & set(HERE) else store.unstrip_protocol(name)


def copy_here(address: str, path: Path) -> None:
    """Copy the file at an address to `path`; where it is gone, no file is written.

    Raises
    ------
    HematoVisionError
        Where the store does not answer, or refuses, several times.
    """
    store, name = open_store(address)
    for left in reversed(range(TRIES)):
        try:
            store.get_file(name, str(path))
            return
        except FileNotFoundError:
            return
        except Exception as error:  # each store has errors of its own
            path.unlink(missing_ok=True)
            if not left:
                raise HematoVisionError(
                    f"expected to read {address}, but its store refuses it "
                    f"({_in_a_line(error)}): check the network and your credentials; what was "
                    "finished is kept, and the same command goes on"
                ) from error
            time.sleep(PAUSE_S)


def _in_a_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
