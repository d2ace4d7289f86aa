"""The memory of processes that compute: what is freed is kept for the next step."""

from __future__ import annotations

import ctypes
import os

# mallopt's parameters and values (malloc.h): no block is mapped by itself, one arena, because a
# second could not hold large blocks, nothing is given back, and growth comes 64 MB at a time.
MMAP_MAX, ARENA_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -8, -1, -2
SETTINGS = {MMAP_MAX: 0, ARENA_MAX: 1, TRIM_THRESHOLD: -1, TOP_PAD: 64 << 20}


def keep_freed_memory() -> None:
    """Let the C library reuse large blocks instead of taking each anew from the system.

    A training step builds and frees gigabytes, SIFT megabytes for every picture. By default glibc
    maps each large block anew, and the kernel clears it page by page. To be called before the
    threads that compute begin, for a thread keeps its arena. Elsewhere than on glibc nothing
    happens, nor where the environment sets the allocator (`MALLOC_…`, `GLIBC_TUNABLES`).
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in SETTINGS.items():
        mallopt(parameter, value)
