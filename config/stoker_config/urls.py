"""The URL of a Redis server, as redis-py spells it and as Celery does."""

from urllib.parse import parse_qs, urlencode

from stoker_config.sentinel import SCHEME, Sentinels


def for_redis_py(url: str) -> str:
    """Give a server's URL as redis-py takes it; Celery's own spelling is taken as well.

    Raises:
        ValueError: It is not Redis's; the message bears no part of it.
    """
    scheme, address, options = _split(url)
    if scheme == SCHEME:
        return ";".join(Sentinels.parse(url).urls())
    if scheme not in {"redis", "rediss", "unix", "redis+socket"}:
        raise ValueError("redis_url must begin with redis://, rediss://, unix:// or sentinel://")
    if scheme in {"redis", "rediss"} and "db" in options:
        raise ValueError("redis_url names its database in the path: redis://host:6379/1")
    if "virtual_host" in options:
        options["db"] = options.pop("virtual_host")
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    return _join(scheme.replace("redis+socket", "unix"), address, options)


def for_celery(url: str) -> str:
    """Give a URL that `for_redis_py` gave as Celery takes it."""
    scheme, address, options = _split(url)
    if scheme == SCHEME:
        return url
    if scheme == "rediss":
        # Unlike redis-py, Celery trusts any certificate unless it is told not to.
        options["ssl_cert_reqs"] = f"CERT_{options.get('ssl_cert_reqs', 'required').upper()}"
    if "db" in options:
        options["virtual_host"] = options.pop("db")
    return _join(scheme.replace("unix", "redis+socket"), address, options)


def _split(url: str) -> tuple[str, str, dict[str, str]]:
    """Part a URL into its scheme, its address with the path, and its options."""
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    return scheme, address, {name: values[-1] for name, values in parse_qs(query).items()}


def _join(scheme: str, address: str, options: dict[str, str]) -> str:
    return f"{scheme}://{address}" + (f"?{urlencode(options)}" if options else "")
