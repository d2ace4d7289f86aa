"""Figures in a notebook: at twice the resolution, and drawn once."""

import base64

import pytest
from IPython.core.interactiveshell import InteractiveShell

from hv_utils.figures import palette
from hv_utils.ground.runs import Run


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def shown(shell, figure):
    data, about = shell.display_formatter.formatters["image/png"](figure)
    return base64.b64decode(data), about


def test_what_is_shown_is_the_file_that_was_written(shell, tmp_path, monkeypatch):
    figure, axes = palette.new_figure()
    axes.plot([1, 2])
    drawn, about = shown(shell, figure)
    path = Run.open(tmp_path).write_figure("line.png", figure)
    assert path.read_bytes() == drawn, "what would have been drawn"
    monkeypatch.setattr(figure, "savefig", None)
    monkeypatch.setattr(figure.canvas, "print_figure", None)
    assert shown(shell, figure) == (drawn, about), "not drawn again"
