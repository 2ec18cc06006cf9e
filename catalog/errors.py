"""What can go wrong, by what is to be done about it. Catch `LandloomError` to catch them all."""


class LandloomError(Exception):
    """Base of every error Landloom raises on purpose; its text names the value and the remedy."""


class BadInput(LandloomError):
    """The request itself is wrong: a value to correct. The command line exits with 2."""


class SceneUnreadable(LandloomError):
    """A scene that no further try will read (404, truncated, a band missing): it is left out."""


class SourceUnavailable(LandloomError):
    """A source that kept failing in ways that may pass (503, time-out, expired signature)."""


class ServerUnavailable(LandloomError):
    """Servers of networks that kept failing in ways that may pass."""


class StoreError(LandloomError):
    """The output cannot be written or read (disk full, bucket refused): the run stops."""
