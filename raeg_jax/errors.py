"""Errors that a user can mend, each with the way out."""


class UserError(ValueError):
    """A wrong value, file or folder: the message names it and the way out.

    Commands print it in one line, without a traceback, and exit with status 2.
    """


class DivergedError(UserError):
    """A generator whose training diverged: its samples leave 0..255 too far to protect images."""
