"""Every figure of the report, in one palette: `charts`, `pictures`, `score_figures`, `crops`.

In: tables and arrays. Out: Matplotlib figures, closed in pyplot: show one by leaving it on a cell's
last line, save it with `Run.write_figure`. May import: images.
"""
