"""The doors for a browser: pages and the service.

In: an exported model, images, tables of verdicts. Out: pages that work from disk, answers over
HTTP. May import: inference, fields, images, scores.
"""
