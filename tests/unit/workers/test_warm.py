import gc
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from stoker_tasks.errors import Internal, ModelLoadFailed, UnknownModel
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.warm import WarmModels


def key(name: str) -> ModelKey:
    return ModelKey("text-classification", name)


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    def preprocess(self, job: Any, media: Any) -> Any:
        return ("preprocessed", job, media)

    def forward(self, chunks: Any) -> Any:
        return ("forwarded", chunks)

    def postprocess(self, job: Any, prepared: Any, outputs: Any) -> Any:
        return ("postprocessed", job, prepared, outputs)


class Loader:
    """Counts loads, fails when it is told to, and waits while it is held."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.go = threading.Event()
        self.go.set()

    def __call__(self, wanted: ModelKey) -> WarmModel:
        self.loads.append(wanted.model)
        assert self.go.wait(10)
        if wanted.model in self.fail:
            raise self.fail[wanted.model]
        return Model(wanted.model)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def take(models: WarmModels, name: str) -> WarmModel:
    """Take a model as the engine does: once it is loaded, it is asked for again."""
    models.get(key(name)).result(10)
    return models.get(key(name)).result(0)


def names(models: WarmModels) -> list[str]:
    gc.collect()
    return [each.model for each in models.loaded()]


def test_a_model_is_loaded_once_for_all_who_ask(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    loader.go.clear()
    futures = [models.get(key("a")) for _ in range(5)]
    assert not any(future.done() for future in futures)
    loader.go.set()
    assert {future.result(10).name for future in futures} == {"a"}
    assert models.get(key("a")).done()
    assert loader.loads == ["a"]


def test_what_is_lent_does_what_the_model_does(loader: Loader) -> None:
    lent: Any = take(WarmModels(loader, 1), "a")
    assert lent.preprocess(1, 2) == ("preprocessed", 1, 2)
    assert lent.forward(3) == ("forwarded", 3)
    assert lent.postprocess(1, 2, 3) == ("postprocessed", 1, 2, 3)


def test_the_model_unused_for_longest_is_given_up(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    for name in ("a", "b", "a", "c"):
        take(models, name)
    assert names(models) == ["a", "c"]


def test_a_model_in_use_is_not_given_up(loader: Loader) -> None:
    models = WarmModels(loader, 1)
    held = take(models, "a")
    take(models, "b")
    assert names(models) == ["a", "b"]
    del held
    take(models, "c")
    assert names(models) == ["c"]


def test_a_fresh_model_stays_until_it_was_taken(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 1, clock=clock)
    models.get(key("a")).result(10)
    take(models, "b")
    assert names(models) == ["a", "b"]
    clock.now += 60
    take(models, "c")
    assert names(models) == ["c"]


def test_pinned_models_are_never_given_up(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    models.preload([key("a"), key("b")])
    take(models, "c")
    take(models, "d")
    assert names(models) == ["a", "b", "d"]


def test_preloading_fails_loudly(loader: Loader) -> None:
    loader.fail["b"] = UnknownModel("no b")
    with pytest.raises(UnknownModel, match="no b"):
        WarmModels(loader, 2).preload([key("a"), key("b")])


def test_a_failure_is_repeated_at_once_and_tried_again_later(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 2, retry_after=10, clock=clock)
    loader.fail["a"] = ModelLoadFailed("too large", {"bytes": 7})
    first = models.get(key("a")).exception(10)
    clock.now += 9
    second = models.get(key("a")).exception(0)
    assert isinstance(first, ModelLoadFailed)
    assert isinstance(second, ModelLoadFailed)
    assert first is not second
    assert (second.message, second.details) == ("too large", {"bytes": 7})
    assert loader.loads == ["a"]

    del loader.fail["a"]
    clock.now += 2
    assert models.get(key("a")).result(10).name == "a"
    assert loader.loads == ["a", "a"]


def test_any_failure_is_a_failure_to_load(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    loader.fail["a"] = KeyError("secret")
    error = models.get(key("a")).exception(10)
    assert isinstance(error, ModelLoadFailed)
    assert "KeyError" in error.message
    assert "secret" not in error.message
    assert isinstance(error.__cause__, KeyError)
    # And the thread lives on.
    assert models.get(key("b")).result(10).name == "b"


def test_made_up_names_do_not_gather(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 2, clock=clock)
    for index in range(50):
        loader.fail[str(index)] = Internal("no")
        models.get(key(str(index))).exception(10)
        clock.now += 11
    assert len(models._entries) <= 2


def test_many_threads(loader: Loader) -> None:
    models = WarmModels(loader, 3)
    found: list[tuple[str, str]] = []

    def work(start: int) -> None:
        for index in range(100):
            name = "abcdef"[(start + index) % 6]
            future: Future[WarmModel] = models.get(key(name))
            found.append((name, future.result(10).name))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 400
    assert all(wanted == given for wanted, given in found)
