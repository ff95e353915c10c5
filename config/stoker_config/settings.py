"""Every knob, typed; the only reader of the environment.

Each setting is read from the environment variable `STOKER_` + its name in capitals.
"""

import os
import re
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stoker_config.clock import DAY
from stoker_config.sentinel import SCHEME, Sentinels
from stoker_config.sizes import KIB, MIB, parse_size
from stoker_config.urls import for_celery, for_redis_py
from stoker_tasks.limits import Limits

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


class Settings(BaseSettings):
    """The settings of one process.

    Attributes:
        redis_url: The server that holds queues, results and artifacts: `redis://`, `rediss://` or
            `unix://` (`redis+socket://` is taken as well); or, for the one that Sentinel calls the
            master, `sentinel://HOST:PORT;sentinel://HOST:PORT`, with the servers' own password and
            database.
        result_url: Another Redis server, or another logical database, for results alone; they are
            on the server of `redis_url` if it is empty.
        master_name: The name under which the sentinels of `redis_url` watch the server; without
            sentinels it says nothing.
        sentinel_kwargs: Options of the connections to the sentinels themselves, as JSON:
            `{"password": "…"}`.
        pool: The pool that a worker serves, and the default pool of a producer.
        device: What a worker runs its models on: `auto`, `cpu`, `cuda:N` or `mps`.
        preload: Models that a worker loads before it takes jobs and never evicts, as
            `task=model` or `task=model@revision`, separated by commas. The first one of a task is
            the pool's model for jobs of that task that name none.
        models: The only models that a worker serves, beside those of the models file; any if
            empty.
        models_file: A TOML file of models, with how each is loaded and served.
        warm_models: How many models a worker keeps loaded at most.
        model_memory: The most memory that loaded models may take together: bytes (`12GiB`), or up
            to 1 a share of the device's.
        window: From how many waiting rows of one kind a batch is chosen.
        batch_rows: The most rows of one forward pass.
        batch_tokens: The most padded tokens of one forward pass. If it is absent, a preloaded
            model's best is learned by timing passes before jobs come, and kept in `cache_dir`; no
            batch of it is so large that its rows would take longer together than one after another.
            Other models have the device's own, and so has this one where other processes kept the
            CPU from its passes.
        transport: How a worker takes messages: `stoker`, by the batch, none lost when it is
            killed; or `stock`, kombu's own transport, slower.
        fast_lane: Whether a worker stores the results of plain jobs itself; if not, Celery's tracer
            does, which comes to the same and takes longer.
        lease: Seconds after which the jobs of a silent worker go to another one, with any worker's
            next look, which comes every 5 seconds or more often (`stoker` only; kombu's own
            transport has `visibility_timeout`), and after which producers call them `queued` again
            if no worker lives; the same for both sides.
        visibility_timeout: Seconds after which a job goes to another worker that one on kombu's own
            transport has taken and not ended: kombu's own setting, no less than any worker on this
            Redis has, Stoker's or not, and no less than `lease`; the same for both sides.
        hang_timeout: Seconds after which a forward pass counts as hung, or what is done to one job
            before or after it, or a step of a model's load (downloads may take any time); the
            worker process then ends, and its jobs run again.
        worker_id: What a supervisor calls the worker process that it has started; not for people.
        prefetch: How many jobs a worker holds at most, running and waiting.
        eta_limit: How many jobs beyond `prefetch` a worker holds at most: each that waits for its
            `countdown` or `eta` makes room for one. With as many as that it takes none of any kind
            until one of them has ended. Any number if it is empty.
        queue_limit: The most jobs that may wait in a pool's queue; any number if absent. Beyond it
            Stoker's clients are refused (`queue_full`).
        tenant_limit: The most jobs of one tenant that may wait or run, in all pools; any number if
            absent. Beyond it Stoker's clients are refused. All of them need the same setting.
        inline_limit: Bytes of JSON above which inputs leave the message for the artifact store.
        max_message: Bytes above which a worker refuses the arguments of a message.
        artifact_limit: Bytes of the largest artifact that Redis takes.
        artifact_capacity: Bytes of all artifacts in Redis together.
        artifact_expires: Seconds for which an input is kept that travels beside its message.
        s3_bucket: The S3 bucket that takes all artifacts and large outputs; Redis takes them if it
            is empty. Credentials are found by boto3: its environment variables, profile, or role.
        s3_endpoint: The URL of another S3 server than that of AWS.
        s3_public_endpoint: The URL that presigned URLs name, where users reach the server by
            another one than workers do.
        s3_region: The bucket's region; boto3's own choice if empty.
        s3_path_style: Name the bucket in the path of URLs, as most servers other than AWS want it.
        s3_prefix: What the name of each object begins with.
        s3_sse: Encryption at rest that is asked for: `AES256` or `aws:kms`; the bucket's own if
            empty.
        s3_kms_key: The key's ID for `aws:kms`; the account's own key if empty.
        s3_tags: Tag each object with the days that it is to be kept, for lifecycle rules; off for
            a server that knows no tags.
        s3_limit: Bytes of the largest artifact that S3 takes.
        s3_multipart: Bytes above which an artifact is sent in parts, several at once.
        presign_expires: Seconds for which a presigned URL leads to its artifact.
        result_expires: Seconds for which a result and its artifacts are kept, unless the job says.
        max_items: The most inputs in one job's list.
        max_text: Characters of all texts of one job together.
        fetch_limit: Bytes of all files together that one job only names, by URL or as artifacts.
        fetch_timeout: Seconds in which all files have to be here that one job names by URL.
        input_buckets: The S3 buckets of which callers may name objects, `s3://BUCKET/KEY`; workers
            read them with their own credentials. Separated by commas; none if empty.
        retention_max: The most seconds that a job may ask for.
        result_inline_limit: Bytes of JSON above which an output leaves its result for the artifact
            store.
        cache_expires: Seconds after which a result answers no equal job any more.
        allowed_networks: Networks (`10.1.0.0/16`), addresses and hosts' names to which callers may
            send workers, for inputs by URL and webhooks, although they are not public; separated
            by commas. The addresses of clouds' metadata have to be named one by one.
        webhook_secret: What signs the webhooks of jobs that name no secret: `whsec_` and base64;
            several, separated by commas, while a new one replaces an old one.
        webhook_secrets: A file of secrets by name, as JSON; `stoker webhooks secret` writes it.
        webhook_timeout: Seconds within which a webhook's receiver has to answer.
        webhook_slots: How many posts a courier has under way at once.
        webhook_host_slots: How many of these may be one host's; posts that hang while it answers
            later ones come on top.
        webhook_output_interval: Seconds between two `job.output` events of one job, at least.
        webhook_expires: Seconds for which an event is kept after it was delivered or given up, to
            be looked at and replayed.
        idempotency_expires: Seconds for which an idempotency key is kept after its job has ended.
        cache_dir: Where fetched and converted models are kept; if it is not given, `stoker` in the
            user's cache folder.
        log_level: `debug`, `info`, `warning` or `error`.
        log_format: `text` for people, `json` for machines (one object a line).
    """

    # A URL's password must not stand in an error.
    model_config = SettingsConfigDict(
        env_prefix="STOKER_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    result_url: SecretStr = SecretStr("")
    master_name: str = ""
    sentinel_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False)
    pool: str = "default"
    device: str = "auto"
    preload: Annotated[tuple[str, ...], NoDecode] = ()
    models: Annotated[tuple[str, ...], NoDecode] = ()
    models_file: Path | None = None
    warm_models: int = Field(default=4, ge=1)
    model_memory: Annotated[float, BeforeValidator(parse_size), Field(gt=0)] = 0.8
    window: int = Field(default=256, ge=1)
    batch_rows: int = Field(default=256, ge=1)
    batch_tokens: int | None = Field(default=None, ge=1)
    transport: Literal["stoker", "stock"] = "stoker"
    fast_lane: bool = True
    lease: float = Field(default=60.0, gt=0)
    visibility_timeout: float = Field(default=3600.0, gt=0)
    hang_timeout: float = Field(default=1800.0, gt=0)
    worker_id: str = ""
    prefetch: int = Field(default=768, ge=1)
    eta_limit: int | None = Field(default=50_000, ge=0)
    queue_limit: int | None = Field(default=None, ge=1)
    tenant_limit: int | None = Field(default=None, ge=1)
    inline_limit: int = Field(default=64 * KIB, ge=1)
    max_message: int = Field(default=4 * MIB, ge=1)
    artifact_limit: int = Field(default=64 * MIB, ge=1)
    artifact_capacity: int = Field(default=1024 * MIB, ge=1)
    artifact_expires: int = Field(default=DAY, ge=1)
    s3_bucket: str = ""
    s3_endpoint: str = ""
    s3_public_endpoint: str = ""
    s3_region: str = ""
    s3_path_style: bool = False
    s3_prefix: str = "stoker/"
    s3_sse: Literal["", "AES256", "aws:kms"] = ""
    s3_kms_key: str = ""
    s3_tags: bool = True
    s3_limit: int = Field(default=1024 * MIB, ge=1)
    s3_multipart: int = Field(default=16 * MIB, ge=5 * MIB)
    presign_expires: int = Field(default=3600, ge=1, le=7 * DAY)
    result_expires: int = Field(default=DAY, ge=1)
    max_items: int = Field(default=10_000, ge=1)
    max_text: int = Field(default=4 * MIB, ge=1)
    fetch_limit: int = Field(default=128 * MIB, ge=1)
    fetch_timeout: float = Field(default=60.0, gt=0)
    input_buckets: Annotated[tuple[str, ...], NoDecode] = ()
    retention_max: int = Field(default=30 * DAY, ge=1, le=366 * DAY)
    result_inline_limit: int = Field(default=256 * KIB, ge=1)
    cache_expires: int = Field(default=DAY, ge=1)
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_secret: SecretStr = SecretStr("")
    webhook_secrets: Path | None = None
    webhook_timeout: float = Field(default=15.0, gt=0, le=30.0)
    webhook_slots: int = Field(default=1000, ge=1)
    webhook_host_slots: int = Field(default=8, ge=1)
    webhook_output_interval: float = Field(default=1.0, ge=0.05)
    webhook_expires: int = Field(default=3 * DAY, ge=1)
    idempotency_expires: int = Field(default=DAY, ge=1)
    cache_dir: Path = Field(default_factory=lambda: _user_cache() / "stoker")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("preload", "models", "input_buckets", "allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                ip_network(each, strict=False)
            except ValueError:
                # A mistyped network would be a name that nobody has.
                if not _HOST.fullmatch(each) or each.replace(".", "").isdigit():
                    raise ValueError(
                        f"allowed_networks: {each!r} is neither a network such as 10.1.0.0/16 nor "
                        "an address nor the name of a host"
                    ) from None
        return tuple(each.lower().rstrip(".") for each in value)

    @field_validator("models_file", "eta_limit", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("result_url")
    @classmethod
    def _no_sentinels(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url.startswith(f"{SCHEME}://"):
            raise ValueError(
                "result_url cannot name sentinels: give it a server's own URL, or leave it out and "
                "have results kept where redis_url leads to"
            )
        try:
            return cls._one_spelling(value) if url else value
        except ValueError as error:
            raise ValueError(str(error).replace("redis_url", "result_url")) from None

    @field_validator("redis_url")
    @classmethod
    def _one_spelling(cls, value: SecretStr) -> SecretStr:
        return SecretStr(for_redis_py(value.get_secret_value()))

    @model_validator(mode="after")
    def _sentinel_whole(self) -> Self:
        if self.sentinels is not None and not self.master_name:
            raise ValueError(
                "a sentinel:// URL needs STOKER_MASTER_NAME: sentinels may watch several servers, "
                "each under a name"
            )
        return self

    @model_validator(mode="after")
    def _shared_server(self) -> Self:
        if self.visibility_timeout < self.lease:
            raise ValueError(
                f"visibility_timeout is {self.visibility_timeout:g} s, and lease {self.lease:g} s: "
                "kombu's workers would take Stoker's for dead before their leases are over. Raise "
                "STOKER_VISIBILITY_TIMEOUT, or lower STOKER_LEASE"
            )
        return self

    @property
    def sentinels(self) -> Sentinels | None:
        """Who knows where the server is; None if the URL says so itself."""
        return Sentinels.parse(self.redis) if self.redis.startswith(f"{SCHEME}://") else None

    @property
    def apart(self) -> bool:
        """Whether results have a server, or a logical database, of their own."""
        url = self.result_url.get_secret_value()
        return bool(url) and url != self.redis

    @property
    def of_results(self) -> Self:
        """These settings with the results' server in the place of the broker's."""
        if not self.apart:
            return self
        return self.model_copy(update={"redis_url": self.result_url, "master_name": ""})

    @property
    def limits(self) -> Limits:
        """How large one job may be."""
        return Limits(items=self.max_items, text=self.max_text, files=self.fetch_limit)

    @property
    def redis(self) -> str:
        """The server's URL as redis-py takes it, with its password."""
        return self.redis_url.get_secret_value()

    @property
    def celery_redis(self) -> str:
        """The server's URL as Celery takes it, with its password."""
        return for_celery(self.redis)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings of this process once."""
    return Settings()


def child_environment(**settings: str) -> dict[str, str]:
    """Give the environment for a child process: this one's, with other settings.

    A URL with a password reaches a child this way, since any user of a machine can read arguments.

    Args:
        **settings: Names of settings and their values, as the environment spells the values.
    """
    return {**os.environ, **{f"STOKER_{name.upper()}": value for name, value in settings.items()}}


def use(**settings: str) -> Settings:
    """Change settings of this process before anything has read them, and read them.

    Args:
        **settings: Names of settings and their values, as the environment spells the values.

    Returns:
        The settings that `load_settings` gives from now on.
    """
    os.environ.update(child_environment(**settings))
    load_settings.cache_clear()
    return load_settings()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
