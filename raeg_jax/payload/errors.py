"""What can be wrong with a payload: each fault has its own error."""

from raeg_jax.errors import UserError


class PayloadError(UserError):
    """The payload can't be used; subclasses say why."""


class NotAPayloadError(PayloadError):
    """The bytes were never a payload: most likely the image isn't a protected one."""


class NewerFormatError(PayloadError):
    """A later version of the library wrote the payload."""


class DamagedPayloadError(PayloadError):
    """The bytes are a payload, but some of them have changed or are missing."""


class WrongKeyError(PayloadError):
    """The payload is intact, but another key locked it."""


class OtherGeneratorError(PayloadError):
    """A generator with other weights protected the image."""


class TamperedPixelsError(PayloadError):
    """The payload is intact, but the pixels don't come back as they were."""
