"""From a picture of a smear to its white cells: `find_cells` finds them, `standard_view` cuts out.

In: uint8 RGB arrays of any size and scale. Out: for each white cell its centre, box and nucleus,
the picture's scale by its red cells, and views in which all laboratories' cells look alike.
Classical, a few milliseconds a picture: NumPy, OpenCV, SciPy. May import: images.
"""
