"""The one kind of error that a user's mistake raises."""


class HematoVisionError(ValueError):
    """A mistake that the user can mend.

    The message is one line: what was expected, what came, the likely cause and what to do.
    Commands print it without a traceback and exit with a non-zero status.
    """
