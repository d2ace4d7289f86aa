"""Pictures and what is written about them: decoding, class names, boxes.

In: image files, annotation files, folder names. Out: uint8 arrays of shape (height, width, 3),
class names in the project's spelling, boxes in pixels. May import: ground.
"""
