"""The one error that a user's mistake raises."""


class UserError(ValueError):
    """A wrong value, file or folder: the message names it and the way out.

    `train.py` and `eval.py` print it in one line, without a traceback, and exit with status 2.
    """
