"""What can be wrong with a payload: each mistake has its own error."""

from raeg_jax.errors import UserError


class PayloadError(UserError):
    """The payload can't be used; subclasses say why."""


class NotAPayloadError(PayloadError):
    """The bytes were never a payload: most likely the image isn't a protected one."""


class NewerFormatError(PayloadError):
    """A later version of the library wrote it."""


class DamagedPayloadError(PayloadError):
    """It is a payload, but bytes of it have changed or are missing."""


class WrongKeyError(PayloadError):
    """It is intact, but another key locked it."""


class OtherGeneratorError(PayloadError):
    """The image was protected by a generator with other weights."""


class TamperedPixelsError(PayloadError):
    """The payload is intact, but the pixels don't come back as they were."""
