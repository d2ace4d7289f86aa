"""Progress: few lines, and always the last."""

from hv_utils.ground.progress import print_progress


def test_progress_prints_the_end(capsys):
    progress = print_progress("features")
    progress(1, 3)
    progress(3, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "3 of 3" in lines[0]
