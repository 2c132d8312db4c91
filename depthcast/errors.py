"""What the face can refuse, each with one line that a person can act on."""


class DepthcastError(Exception):
    """Root of this package's errors. The message says what, what was got, and what to do."""

    exit_code = 1


class UsageError(DepthcastError):
    """Options that cannot be what was meant, alone or together."""

    exit_code = 2


class ModelError(DepthcastError):
    """The model asked for cannot run here as asked."""


class PullError(DepthcastError):
    """Weights could not be downloaded whole and unchanged."""


class LicenceError(DepthcastError):
    """Weights under a restricting licence were asked for and the licence was not accepted."""
