"""What can go wrong while services are run on this machine; each message says what to do.

LocalError
├── NoRedis         no redis-server that would do
├── FetchFailed     a package could not be fetched
├── ProcessDied     a process ended that should have gone on
├── NotReady        a process did not become ready in time
└── Interrupted     the user asked to stop meanwhile
"""


class LocalError(Exception):
    """Root of the errors of services that run on this machine."""


class MissingExtra(LocalError):
    """A part of Stoker is not installed."""


class NoRedis(LocalError):
    """No redis-server was found that would do."""


class FetchFailed(LocalError):
    """A package could not be fetched from the package index."""


class ProcessDied(LocalError):
    """A process ended that should have gone on."""


class NotReady(LocalError):
    """A process did not become ready in time."""


class Interrupted(LocalError):
    """The user asked to stop before everything was ready."""
