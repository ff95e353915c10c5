"""What Stoker relies on in Celery and kombu beyond their documented interfaces, checked at start.

A release that renames one of these must stop a worker with a clear message, not lose its jobs.
"""

from importlib import import_module
from importlib.metadata import version
from types import CodeType
from typing import Any, Final

from celery.exceptions import ImproperlyConfigured

# The releases that Stoker is tested with; the package's requirements say the same.
SUPPORTED: Final = {"celery": "5.7", "kombu": "5.7"}

_REDIS: Final = "kombu.transport.redis"
_VIRTUAL: Final = "kombu.transport.virtual.base"

# Module, then a name in it. `Class.name` is an attribute of the class; `Class().name` is one that
# its __init__ sets, or a class it inherits from.
RELIED_ON: Final[tuple[tuple[str, str], ...]] = (
    # Celery: a worker's pool is given its work through this, and the engine stands before it.
    ("celery.worker.components", "Pool.create"),
    ("celery.worker.worker", "WorkController._process_task"),
    # Celery: what a request shows, and what its tracer is called with.
    ("celery.worker.request", "Request()._request_dict"),
    ("celery.worker.request", "Request()._argsrepr"),
    ("celery.worker.request", "Request()._eventer"),
    ("celery.worker.request", "Request()._kwargsrepr"),
    ("celery.worker.request", "Request.on_success"),
    ("celery.worker.request", "Request._announce_revoked"),
    ("celery.worker.request", "Request._context"),
    ("celery.app.trace", "build_tracer"),
    ("celery.app.trace", "task_has_custom"),
    ("celery.app.trace", "logger"),
    ("celery.app.trace", "info"),
    ("celery.app.trace", "LOG_SUCCESS"),
    ("celery.worker.state", "task_accepted"),
    ("celery.worker.state", "revoked"),
    # Celery: what its strategy does with a message that may run at once.
    ("celery.worker.strategy", "default"),
    ("celery.worker.strategy", "logger"),
    ("celery.worker.request", "create_request_cls"),
    ("celery.app.trace", "LOG_RECEIVED"),
    ("celery.worker.state", "task_reserved"),
    ("celery.worker.state", "task_ready"),
    ("celery.worker.consumer.consumer", "Consumer()._maximum_prefetch_restored"),
    # Celery: the consumer's answers to messages that make no task.
    ("celery.worker.consumer.consumer", "Consumer.create_task_handler"),
    ("celery.worker.consumer.consumer", "Consumer.on_unknown_task"),
    ("celery.worker.consumer.consumer", "Consumer.on_unknown_message"),
    ("celery.worker.consumer.consumer", "Consumer.on_invalid_task"),
    ("celery.worker.consumer.consumer", "Consumer.on_decode_error"),
    # Celery and kombu: the count of messages that a worker may hold, and what it is used by.
    ("celery.worker.consumer.consumer", "Consumer.loop_args"),
    ("celery.worker.consumer.consumer", "Consumer.apply_eta_task"),
    ("kombu.common", "QoS.increment_eventually"),
    ("kombu.common", "QoS.decrement_eventually"),
    ("kombu.common", "QoS.set"),
    ("kombu.common", "QoS()._mutex"),
    # Celery: the table in which the consumer looks a message's task up.
    ("celery.worker.consumer.consumer", "Consumer.Strategies"),
    # Celery: a result is written by these, and fits below this size.
    ("celery.backends.base", "Backend._get_result_meta"),
    ("celery.backends.redis", "RedisBackend.set"),
    ("celery.backends.redis", "RedisBackend.ensure"),
    ("celery.backends.redis", "RedisBackend._MAX_STR_VALUE_SIZE"),
    # Celery: what counts a chord's parts, and the key under which a worker claims the body.
    ("celery.backends.redis", "RedisBackend.on_chord_part_return"),
    ("celery.backends.redis", "RedisBackend.get_key_for_group"),
    ("celery.backends.redis", "RedisBackend._chord_cleanup_script"),
    ("celery.backends.redis", "RedisBackend.chord_error_from_stack"),
    ("celery.backends.redis", "RedisBackend._call_task_errbacks"),
    ("celery.backends.redis", "CHORD_CLEANUP_LUA"),
    ("celery.backends.redis", "RedisBackend._get_result_meta"),
    ("celery.backends.redis", "RedisBackend._get_task_meta_for"),
    ("celery.backends.redis", "RedisBackend.get_key_for_task"),
    ("celery.backends.redis", "RedisBackend.encode"),
    # Celery: what sends events.
    ("celery.events.dispatcher", "EventDispatcher._publish"),
    ("celery.events.dispatcher", "EventDispatcher.send"),
    # Celery: the message that a producer sends.
    ("celery.app.amqp", "AMQP.as_task_v2"),
    # kombu: how a channel asks for messages and reads them.
    (_REDIS, "Channel._brpop_start"),
    (_REDIS, "Channel._brpop_read"),
    (_REDIS, "Channel._brpop_sent_at"),
    (_REDIS, "Channel._in_poll"),
    (_REDIS, "Channel._poll_error"),
    (_REDIS, "Channel._create_client"),
    (_REDIS, "Channel._get_pool"),
    (_REDIS, "Channel._q_for_pri"),
    (_REDIS, "Channel._fanout_queues"),
    (_REDIS, "Channel._put_fanout"),
    (_REDIS, "Channel._get_publish_topics"),
    (_REDIS, "Channel()._queue_cycle"),
    # kombu: how a channel finds a server by its sentinels, and closes what it asked them by.
    (_REDIS, "SentinelChannel._sentinel_managed_pool"),
    (_REDIS, "SentinelChannel._connparams"),
    (_REDIS, "SentinelChannel()._sentinel_manager"),
    (_REDIS, "SentinelChannel()._async_sentinel_manager"),
    (_VIRTUAL, "Channel._lookup"),
    (_VIRTUAL, "Channel()._active_queues"),
    (_VIRTUAL, "Transport._deliver"),
    (_VIRTUAL, "Message()._raw"),
    ("kombu.message", "Message._decode"),
    # kombu: the poller that hears the answers.
    (_REDIS, "MultiChannelPoller()._fd_to_chan"),
    (_REDIS, "MultiChannelPoller._client_registered"),
    (_REDIS, "MultiChannelPoller._register"),
    (_REDIS, "MultiChannelPoller.on_readable"),
    # kombu: what acknowledges and gives back.
    (_REDIS, "QoS._remove_from_indices"),
    (_REDIS, "QoS.restore_by_tag"),
    (_REDIS, "QoS.restore_visible"),
    (_VIRTUAL, "QoS.restore_unacked_once"),
    (_VIRTUAL, "QoS()._delivered"),
    (_VIRTUAL, "QoS()._quick_ack"),
    (_VIRTUAL, "QoS()._on_collect"),
    # kombu: the table of transports by name.
    ("kombu.transport", "TRANSPORT_ALIASES"),
)


def check() -> None:
    """Make sure that the installed Celery and kombu are supported, and have all that is relied on.

    Raises:
        ImproperlyConfigured: A version is another one, or something is missing; the message names
            it and the versions.
    """
    others = [
        f"{name} {version(name)} is installed, and {release}.* is supported"
        for name, release in SUPPORTED.items()
        if not version(name).startswith(f"{release}.")
    ]
    if others:
        wanted = " ".join(f"'{name}=={release}.*'" for name, release in SUPPORTED.items())
        raise ImproperlyConfigured(f"{'; '.join(others)}: pip install {wanted}")
    missing = [f"{module}:{name}" for module, name in RELIED_ON if not _has(module, name)]
    if missing:
        raise ImproperlyConfigured(
            f"Celery {version('celery')} with kombu {version('kombu')} lacks what this version of "
            f"Stoker relies on: {', '.join(missing)}. Install both anew"
        )


def _has(module: str, name: str) -> bool:
    try:
        found: Any = import_module(module)
    except ImportError:
        return False
    owner, _, attribute = name.rpartition(".")
    if not owner:
        return hasattr(found, name)
    cls = getattr(found, owner.removesuffix("()"), None)
    if cls is None:
        return False
    if not owner.endswith("()"):
        return hasattr(cls, attribute)
    return any(attribute in _set_by(base) for base in cls.__mro__)


def _set_by(cls: type) -> tuple[str, ...]:
    code = getattr(getattr(cls, "__init__", None), "__code__", None)
    return code.co_names if isinstance(code, CodeType) else ()
