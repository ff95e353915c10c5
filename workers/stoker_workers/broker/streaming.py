"""Writes new text of running jobs into their Redis streams, and into the outbox for webhooks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from stoker_config import keys, outbox
from stoker_tasks.event import Event
from stoker_workers.broker.ledger import ledger_of
from stoker_workers.engine.delivery import Delivery, Said

# More pieces than a pass makes that does not count as hung; beyond that the oldest go.
_LONGEST: Final = 50_000
_ARGUMENTS: Final = 6

# Appends pieces to streams and puts events into the outbox, for those who hold the jobs. What is
# over, canceled or deleted grows no more, and what a later delivery has begun is that one's: on
# kombu's own transport, too, where no tag tells who holds a job. A text that begins anew replaces
# what came before, and a piece that was written already, by a step whose answer was lost, is not
# written twice. All of it is refused while Redis has no memory: it begins with what takes some.
# KEYS: the index of held deliveries, then each job's stream.
# ARGV: for each job its ID, its delivery's tag ('' for a stock one), attempt, seconds to keep the
# stream, where the piece begins ('' if there is none) and its text; then for each job whose webhook
# is to be told its number, and the event.
# Gives the numbers of the jobs that are another's, or nobody's, by now.
_SAY: Final = (
    outbox.EMIT
    + f"""
local FIELDS, EACH, LONGEST = {outbox.FIELDS}, {_ARGUMENTS}, {_LONGEST}
local TOLD, KEPT = '{keys.told_output("")}', {outbox.KEEP_SECONDS}
local RESULT, CANCELED, DELETED = '{keys.result("")}', '{keys.canceled("")}', '{keys.deleted("")}'
"""
    + """
local events, told, lost = {}, 0, {}
for at = (#KEYS - 1) * EACH + 1, #ARGV, FIELDS + 1 do events[tonumber(ARGV[at])] = at + 1 end
for i = 2, #KEYS do
  local from = (i - 2) * EACH
  local id, tag, attempt, keep = ARGV[from + 1], ARGV[from + 2], ARGV[from + 3], ARGV[from + 4]
  local at, text = ARGV[from + 5], ARGV[from + 6]
  local ours = tag == '' or redis.call('ZSCORE', KEYS[1], tag)
  if ours then ours = redis.call('EXISTS', RESULT .. id, CANCELED .. id, DELETED .. id) == 0 end
  local newest = ours and redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
  local last = newest and newest[2]
  if last then ours = tonumber(last[2]) <= tonumber(attempt) end
  local known = last and last[2] == attempt and last[4] == at and last[6] == text
  if ours then
    if at ~= '' and not known then
      if at == '0' and newest then redis.call('XTRIM', KEYS[i], 'MAXLEN', 0) end
      redis.call('XADD', KEYS[i], 'MAXLEN', '~', LONGEST, '*',
        'attempt', attempt, 'at', at, 'text', text)
      redis.call('EXPIRE', KEYS[i], keep)
      redis.call('PUBLISH', KEYS[i], '')
    end
    if events[i - 1] then
      told = told + emit(events[i - 1])
      -- An event's number is in its ID only, and whoever asks for a job's events has but the job.
      redis.call('SADD', TOLD .. id, ARGV[events[i - 1]])
      redis.call('EXPIRE', TOLD .. id, KEPT)
    end
  else lost[#lost + 1] = i - 1 end
end
if told > 0 then wake() end
return lost
"""
)


class Streams:
    """The streams of texts of running jobs. Safe for threads.

    Streams are read where results are waited for. Where that is another server than the jobs come
    from, the latter is asked first who holds the jobs, and told what webhooks are to be told.

    Args:
        client: A redis-py client of the server that the jobs come from.
        results: One of the results' server, if that is another one.
    """

    def __init__(self, client: Any, results: Any = None) -> None:
        self._say = client.register_script(_SAY)
        self._append = results and results.register_script(_SAY)

    def said(self, said: Sequence[Said]) -> list[Delivery]:
        """Hand on new text, of all jobs in one step.

        Returns:
            The deliveries that this worker holds no longer, or whose jobs are over.
        """
        ledger = ledger_of(said[0].delivery.handle)
        index = None if ledger is None else ledger.index
        if self._append is None:
            return _run(self._say, said, index)
        lost = _run(self._say, [replace(each, piece=None) for each in said], index)
        gone = set(map(id, lost))
        kept = [
            replace(each, event=None)
            for each in said
            if each.piece is not None and id(each.delivery) not in gone
        ]
        return lost + (_run(self._append, kept, None) if kept else [])


def _run(script: Any, said: Sequence[Said], index: str | None) -> list[Delivery]:
    events = [(number, event) for number, each in enumerate(said, 1) if (event := _event(each))]
    lost = script(
        keys=[index or "", *(keys.stream(each.delivery.id) for each in said)],
        args=[
            *(arg for each in said for arg in _arguments(each, held=index is not None)),
            *(arg for number, event in events for arg in (number, *outbox.fields(event))),
        ],
    )
    return [said[number - 1].delivery for number in lost]


def _arguments(said: Said, *, held: bool) -> tuple[Any, ...]:
    handle, piece = said.delivery.handle, said.piece
    return (
        said.delivery.id,
        handle.message.delivery_tag if held else "",
        _attempt(said.delivery),
        said.keep,
        "" if piece is None else piece.at,
        "" if piece is None else piece.text,
    )


def _event(said: Said) -> Event | None:
    listener, new = said.delivery.handle.listener, said.event
    if listener is None or new is None:
        return None
    event: Event | None = listener.output(
        said.delivery.id, _attempt(said.delivery), new.number, new.at, new.text
    )
    return event


def _attempt(delivery: Delivery) -> int:
    return int(delivery.handle.starts) + 1
