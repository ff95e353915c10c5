"""Settings: read from the environment, one spelling of the server, no secret shown."""

import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from stoker_config import settings as module
from stoker_config.app import make_app
from stoker_config.settings import Settings, child_environment, load_settings

PASSWORD = "pa55word"


def of(url: str) -> Settings:
    return Settings.model_validate({"redis_url": url})


def test_each_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_POOL", "gpu")
    monkeypatch.setenv("STOKER_PRELOAD", "fill-mask=a/b, text-generation=c/d@main,")
    monkeypatch.setenv("STOKER_MODELS", "")
    monkeypatch.setenv("STOKER_BATCH_ROWS", "8")

    settings = Settings()

    assert settings.pool == "gpu"
    assert settings.preload == ("fill-mask=a/b", "text-generation=c/d@main")
    assert settings.models == ()
    assert settings.batch_rows == 8


def test_they_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load_settings.cache_clear()
    first = load_settings()
    monkeypatch.setenv("STOKER_POOL", "other")

    assert load_settings() is first
    load_settings.cache_clear()


def test_every_setting_is_documented() -> None:
    assert Settings.__doc__ is not None
    for name in Settings.model_fields:
        assert f"        {name}: " in Settings.__doc__


@pytest.mark.parametrize(
    ("name", "value"),
    [("device", None), ("batch_rows", 0), ("log_level", "loud"), ("transport", "amqp")]
    + [("visibility_timeout", 0), ("visibility_timeout", 59.9), ("eta_limit", -1)]
    + [("allowed_networks", each) for each in ("10.0.0.0/33", "10.0.0", "a/b", "http://a", "-a")],
)
def test_what_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


@pytest.mark.parametrize(
    ("given", "redis", "celery"),
    [
        ("redis://h:1/2", "redis://h:1/2", "redis://h:1/2"),
        ("unix:///run/r.sock", "unix:///run/r.sock", "redis+socket:///run/r.sock"),
        (
            "unix:///run/r.sock?db=3",
            "unix:///run/r.sock?db=3",
            "redis+socket:///run/r.sock?virtual_host=3",
        ),
        (
            "redis+socket:///run/r.sock?virtual_host=3",
            "unix:///run/r.sock?db=3",
            "redis+socket:///run/r.sock?virtual_host=3",
        ),
        ("rediss://h/0", "rediss://h/0", "rediss://h/0?ssl_cert_reqs=CERT_REQUIRED"),
        (
            "rediss://h/0?ssl_cert_reqs=CERT_NONE",
            "rediss://h/0?ssl_cert_reqs=none",
            "rediss://h/0?ssl_cert_reqs=CERT_NONE",
        ),
    ],
)
def test_a_server_is_spelled_as_each_library_has_it(given: str, redis: str, celery: str) -> None:
    settings = of(given)

    assert settings.redis == redis
    assert settings.celery_redis == celery
    for again in (of(settings.redis), of(settings.celery_redis)):
        assert again.celery_redis == celery


@pytest.mark.parametrize("url", ["amqp://h", "h:6379", "", "redis://h?db=1"])
def test_another_server_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"redis_url (must begin|names its database)"):
        of(url)


def test_a_password_is_shown_nowhere() -> None:
    settings = of(f"redis://:{PASSWORD}@h/0")

    assert PASSWORD in settings.redis
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings.model_dump())
    with pytest.raises(ValidationError) as refused:
        of(f"redis://:{PASSWORD}@h?db=1")
    assert PASSWORD not in str(refused.value)
    app = make_app(settings)
    assert PASSWORD not in app.conf.humanize(with_defaults=True)


def test_a_child_gets_settings_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_POOL", "a")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")

    environment = child_environment(pool="b", redis_url="redis://h/0")

    assert environment["STOKER_POOL"] == "b"
    assert environment["STOKER_REDIS_URL"] == "redis://h/0"
    assert environment["SOMETHING_ELSE"] == "kept"


def test_only_this_module_reads_the_environment() -> None:
    root = Path(module.__file__).parents[2]
    readers = {
        path.relative_to(root).as_posix()
        for folder in ("config", "tasks", "workers")
        for path in (root / folder).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }

    # The entry point turns its command-line options into settings.
    assert readers <= {
        "config/stoker_config/settings.py",
        "workers/stoker_workers/__main__.py",
    }


def test_an_app_checks_the_servers_certificate_on_both_sides() -> None:
    app = make_app(of("rediss://h/0"))

    assert app.backend.connparams["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    with app.connection_for_write() as connection:
        assert connection.ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_an_app_sends_and_takes_json_only() -> None:
    conf = make_app(of("redis://h/0")).conf

    for name in ("accept_content", "result_accept_content"):
        assert conf[name] == ["json"]
    for name in ("task_serializer", "result_serializer", "event_serializer"):
        assert conf[name] == "json"


def test_networks_and_hosts_are_told_by_their_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_ALLOWED_NETWORKS", "10.0.0.0/8, ::1, MinIO.internal., minio")

    assert Settings().allowed_networks == ("10.0.0.0/8", "::1", "minio.internal", "minio")


def test_sentinels_share_one_password_and_one_database() -> None:
    url = f"sentinel://:{PASSWORD}@one:1/2;sentinel://[::1];"
    settings = Settings.model_validate({"redis_url": url, "master_name": "jobs"})

    assert settings.redis == (
        f"sentinel://:{PASSWORD}@one:1/2;sentinel://:{PASSWORD}@[::1]:26379/2"
    )
    assert settings.celery_redis == settings.redis
    assert settings.sentinels is not None
    assert settings.sentinels.server() == {"db": 2, "username": None, "password": PASSWORD}
    assert PASSWORD not in repr(settings)
    with make_app(settings) as app:
        for options in ("broker_transport_options", "result_backend_transport_options"):
            assert app.conf[options]["master_name"] == "jobs"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://one:1", "needs STOKER_MASTER_NAME"),
        (f"sentinel://:{PASSWORD}@one;sentinel://:other@two", "one password"),
        ("sentinel://one/1;sentinel://two/2", "one database"),
        ("sentinel://one;redis://two", "write sentinel://"),
        ("sentinel://one?ssl=true", "take no options"),
    ],
)
def test_sentinels_that_make_no_sense_are_refused(url: str, why: str) -> None:
    name = "" if "MASTER_NAME" in why else "jobs"
    with pytest.raises(ValidationError, match=why) as refused:
        Settings.model_validate({"redis_url": url, "master_name": name})
    assert PASSWORD not in str(refused.value)


def test_results_are_apart_only_where_another_place_is_named() -> None:
    one = Settings.model_validate({"redis_url": "redis+socket:///r.sock?virtual_host=1"})
    same = Settings.model_validate({**one.model_dump(), "result_url": "unix:///r.sock?db=1"})
    other = Settings.model_validate({**one.model_dump(), "result_url": f"rediss://:{PASSWORD}@r/2"})

    assert (one.apart, same.apart, other.apart) == (False, False, True)
    assert one.of_results is one
    assert other.of_results.redis == f"rediss://:{PASSWORD}@r/2"
    assert PASSWORD not in repr(other)
    with make_app(other) as app:
        assert str(app.conf.broker_url).startswith("redis+socket:///r.sock")
        assert app.backend.connparams["ssl_cert_reqs"] == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://one:1", "cannot name sentinels"),
        (f"amqp://:{PASSWORD}@h", "result_url must begin with"),
    ],
)
def test_results_go_to_a_server_of_redis(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        Settings.model_validate({"result_url": url, "master_name": "jobs"})
    assert PASSWORD not in str(refused.value)
