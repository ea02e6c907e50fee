"""The one error that a user's mistake raises."""


class UserError(ValueError):
    """A wrong value, file or folder: the message names it and the way out.

    `train.py` and `eval.py` print it in one line, without a traceback, and exit with status 2.
    """


class DivergedError(UserError):
    """A generator takes samples so far beyond 0..255 that no image can be protected with it."""
