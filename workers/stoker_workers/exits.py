"""With which exit codes a worker process tells why it ended."""

from typing import Final

# A wrong option or setting: another start would end the same way.
USAGE: Final = 2
CONFIG: Final = 78  # EX_CONFIG of sysexits.h
# The engine does no work any more (EX_SOFTWARE): a new process may.
SOFTWARE: Final = 70
