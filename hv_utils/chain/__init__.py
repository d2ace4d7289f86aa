"""The notebooks as a chain of steps, and the book that is built from a run.

In: a profile, parameters, notebooks. Out: a run folder, a book. May import: data, inference,
network, serve.
"""
