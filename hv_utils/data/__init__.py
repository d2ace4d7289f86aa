"""Where images come from, which cell each shows, and who is held out.

In: an archive, a folder, a seed. Out: the image table, one row per image with its label, source
photo, group and split; source maps and overlaps. May import: images, drawn.
"""
