"""When a lease is over, and what becomes of a job's mark as running when its worker has died.

Whoever gives a dead worker's job back takes the mark off and counts the death, in the same step: a
supervisor, or any living worker. While no worker lives, a producer that asks for the job does so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stoker_config import keys
from stoker_config.clock import DAY

if TYPE_CHECKING:
    from stoker_config.settings import Settings

# For how long the deaths and the starts of a job are remembered.
COUNT_SECONDS: Final = 7 * DAY
# After so many workers have died of a job, it is not started again.
POISON: Final = 3

# A job that is given back while it is marked as running was running when its worker died: `died`
# counts that. The mark goes with the counting, so that each death counts once. One that only waited
# there is innocent; but if it is held again and again when a worker dies, it may be what kills them
# before it is marked. `holder_died` counts that as well: it makes nobody guilty, and has whoever
# takes the job next watch it.
DIED: Final = f"""
local RUNNING, DEATHS, STARTS = '{keys.RUNNING}', '{keys.deaths("")}', '{keys.starts("")}'
local BESIDE = '{keys.beside("")}'
local function count(key)
  redis.call('INCR', key)
  redis.call('EXPIRE', key, {COUNT_SECONDS})
end
local function died(id)
  if redis.call('ZREM', RUNNING, id) == 0 then return false end
  count(DEATHS .. id)
  count(STARTS .. id)
  return true
end
local function holder_died(id)
  if not died(id) then count(BESIDE .. id) end
end
"""

# Whatever is renewed meanwhile, or held anew, belongs to a worker that lives.
# KEYS: held deliveries. ARGV: the job's ID, and the held delivery that was renewed last, with the
# time; '' and 0 for none.
_SETTLE: Final = (
    DIED
    + """
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local tag, at = last[1] or '', tonumber(last[2] or 0)
if tag == ARGV[2] and at == tonumber(ARGV[3]) then died(ARGV[1]) end
"""
)


@dataclass(frozen=True, slots=True)
class Beat:
    """The delivery whose lease was renewed last, of all that are held on a server.

    If this lease is over, so is every other: no worker lives that would have renewed one.

    Attributes:
        tag: The delivery's tag; '' if none is held.
        at: When it was renewed, in seconds since the epoch by the server's clock.
    """

    tag: str = ""
    at: float = 0.0

    @classmethod
    def read(cls, last: Sequence[bytes]) -> "Beat":
        """Read it: the last of the held deliveries and its time, as Redis spells them."""
        return cls(last[0].decode(), float(last[1])) if last else cls()

    def is_over(self, now: float, settings: "Settings") -> bool:
        """Tell whether the lease is over.

        Args:
            now: Seconds since the epoch by the server's clock.
            settings: The seconds of a lease, and of one on kombu's own transport.
        """
        # A tag of Stoker's own transport has a dot in it.
        seconds = settings.lease if "." in self.tag else settings.visibility_timeout
        return not self.tag or now - self.at > seconds


def settle(job_id: str, beat: Beat) -> tuple[Any, ...]:
    """Give the arguments of the EVAL that marks a job as running no more, if nobody holds it.

    Args:
        job_id: The job.
        beat: The last beat, which is over.
    """
    return _SETTLE, 1, keys.HELD, job_id, beat.tag, repr(beat.at)
