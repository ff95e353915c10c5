"""The evidence of `make chaos`: what it counts in an append-only file, and how it judges."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import exit_code
from benchmarks.chaos.evidence import Written, read_written
from benchmarks.chaos.faults import Struck
from benchmarks.chaos.load import Sent
from benchmarks.chaos.plan import Build, Plan
from benchmarks.chaos.recovery import Kill
from benchmarks.chaos.report import table
from benchmarks.chaos.verdict import Verdict, judge

SUCCESS = json.dumps({"status": "SUCCESS", "result": {"output": [{"label": "a"}]}}).encode()


def failure(state: str, error: str) -> bytes:
    return json.dumps({"status": state, "result": {"exc_type": error}}).encode()


def command(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in args)


def verdict(
    *, sent: list[Sent], results: dict[str, bytes], written: Written, kills: list[Kill]
) -> Verdict:
    return judge(
        sent=sent,
        unsure=0,
        results=results,
        left=0,
        written=written,
        runs=Counter({"one": 3, "two": 1}),
        struck=Struck(kills=kills),
        late_ends=0,
    )


def test_stores_and_redeliveries_are_read_from_what_redis_wrote(tmp_path: Path) -> None:
    result = b"celery-task-meta-one"
    (tmp_path / "appendonly.aof").write_bytes(
        command(b"SELECT", b"0")
        + command(b"SET", result, b'{"status": "STARTED"}', b"PXAT", b"1")
        + command(b"MULTI")
        + command(b"SET", result, SUCCESS, b"PXAT", b"1")
        + command(b"EXEC")
        + command(b"SETEX", b"celery-task-meta-two", b"60", SUCCESS)
        + command(b"SET", b"another\r\nkey", SUCCESS)
        + command(b"RPUSH", b"stoker", b'{"headers": {"redelivered": true}}', b'{"headers": {}}')
        + command(b"SET", result, SUCCESS, b"PXAT", b"2")
    )

    written = read_written(tmp_path)

    assert written.stored == {"one": 2, "two": 1}
    assert written.redelivered == 1


def test_what_is_lost_stored_twice_or_wrong_is_not_clean() -> None:
    one, two = Sent("one", "single", ("a",)), Sent("two", "body", ("b",))
    once = Written(Counter({"one": 1}), redelivered=1)

    good = verdict(sent=[one], results={"one": SUCCESS}, written=once, kills=[])
    lost = verdict(sent=[one, two], results={"one": SUCCESS}, written=once, kills=[])
    wrong = verdict(sent=[two], results={"two": SUCCESS}, written=once, kills=[])
    twice = verdict(
        sent=[one], results={"one": SUCCESS}, written=Written(Counter({"one": 2})), kills=[]
    )

    assert good.is_clean
    assert good.run_twice == (1, 2)
    assert lost.lost == {"body": 1}
    assert (wrong.wrong, twice.stored_twice) == (1, 1)
    assert [each.is_clean for each in (lost, wrong, twice)] == [False, False, False]


@pytest.mark.parametrize(
    ("state", "error"), [("FAILURE", "OperationalError"), ("REVOKED", "TaskRevokedError")]
)
def test_a_job_that_failed_or_was_revoked_is_not_clean(state: str, error: str) -> None:
    # No job of the harness is bad, and nobody revokes any: all of them could have been done.
    one, two = Sent("one", "single", ("a",)), Sent("two", "link", ("a",))
    results = {"one": SUCCESS, "two": failure(state, error)}
    written = Written(Counter({"one": 1, "two": 1}), redelivered=1)

    seen = verdict(sent=[one, two], results=results, written=written, kills=[])
    printed = table(Plan(), seen)

    assert seen.failed == {error: 1}
    assert not seen.is_clean
    assert not seen.as_json(Plan())["clean"]
    assert f"of these failed                           {error} 1" in printed
    assert "NOT CLEAN" in printed
    assert exit_code(Plan(), seen) == 1


def test_failures_do_not_decide_how_a_build_ends_that_must_show_a_loss() -> None:
    one, two = Sent("one", "single", ("a",)), Sent("two", "link", ("a",))
    results = {"two": failure("FAILURE", "OperationalError")}
    written = Written(Counter({"two": 1}), redelivered=1)
    builds: list[Build] = ["mutant", "stoker on kombu's transport", "plain celery"]

    for build in builds:
        shown = verdict(sent=[one, two], results=results, written=written, kills=[])
        unseen = verdict(sent=[two], results=results, written=written, kills=[])

        assert exit_code(Plan(build=build), shown) == 0
        assert exit_code(Plan(build=build), unseen) == 1


def test_a_run_counts_with_enough_kills_of_each_kind_only() -> None:
    plan = Plan(kills=100)
    idle = Kill(supervised=True, phase="other", held={}, at=0.0)
    waiting = Kill(supervised=True, phase="other", held={"tag": "one"}, at=0.0)
    busy = Kill(supervised=True, phase="store", held={"tag": "one"}, at=0.0)

    def counts(kills: list[Kill], redelivered: int = 1) -> bool:
        written = Written(redelivered=redelivered)
        return verdict(sent=[], results={}, written=written, kills=kills).counts(plan)

    assert plan.required == (75, 50, 20)
    assert plan.is_full
    assert counts([busy] * 20 + [waiting] * 30 + [idle] * 25)
    assert not counts([busy] * 20 + [waiting] * 30 + [idle] * 24)
    assert not counts([busy] * 20 + [waiting] * 29 + [idle] * 26)
    assert not counts([busy] * 19 + [waiting] * 31 + [idle] * 25)
    assert not counts([busy] * 75, redelivered=0)
