"""The list of what is relied on is complete, true of the installed versions, and can fail."""

import ast
from pathlib import Path

import pytest
from celery.exceptions import ImproperlyConfigured

from stoker_workers.broker import reliance

BROKER = Path(reliance.__file__).parent


def test_the_installed_versions_have_it_all() -> None:
    reliance.check()


@pytest.mark.parametrize(
    "name",
    ["Channel._renamed", "Channel()._renamed", "NoClass.x", "no_function"],
)
def test_what_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliance, "RELIED_ON", (("kombu.transport.redis", name),))

    with pytest.raises(ImproperlyConfigured, match=r"kombu\.transport\.redis:"):
        reliance.check()


def test_each_private_name_that_the_broker_rooms_use_is_listed() -> None:
    own: set[str] = {"_exit"}  # of the standard library
    used: set[str] = set()
    for path in BROKER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute):
                (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    # What they override or set is relied on as well.
    overridden = {"_in_poll", "_brpop_sent_at", "_poll_error", "_brpop_start", "_brpop_read"}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}

    listed = {name.rpartition(".")[2] for _, name in reliance.RELIED_ON}
    assert (private - own) | overridden <= listed
