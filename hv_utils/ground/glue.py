"""Numbers for the prose: what a notebook glues, a page quotes with `{glue:text}`."""

from __future__ import annotations

from typing import Any

PREFIX = "application/papermill.record/"  # keeps the value out of the notebook's own page


def glue(name: str, value: Any) -> None:
    """Keep a value in the executed notebook, out of sight, as `myst_nb.glue` does.

    That one imports Sphinx first, which takes seconds in every notebook.

    Parameters
    ----------
    name : str
        By which pages quote the value.
    value : object
        Kept as it would be displayed.
    """
    import numpy as np
    from IPython.core.formatters import format_display_data
    from IPython.display import display

    if isinstance(value, np.generic):  # NumPy writes its type around a number
        value = value.item()
    bundle, metadata = format_display_data(value)
    metadata["scrapbook"] = {"name": name, "mime_prefix": PREFIX}
    display({PREFIX + kind: data for kind, data in bundle.items()}, raw=True, metadata=metadata)
