"""The error that is raised when the embedded server can't be used."""


class EmbeddedServerFailed(RuntimeError):
    """The embedded server could not be made or started; the message says why and what to do."""
