import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from stoker_config.serving import ModelState
from stoker_tasks.errors import Internal, ModelLoadFailed, UnknownModel
from stoker_workers.engine import shelf
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.warm import WarmModels
from tests.support.until import until
from tests.unit.workers.test_forward import DEVICE_FAULTS, ORDINARY


def key(name: str) -> ModelKey:
    return ModelKey("text-classification", name)


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    def is_slow(self, job: Any) -> bool:
        return False

    def preprocess(self, job: Any, media: Any) -> Any:
        return ("preprocessed", job, media)

    def forward(self, chunks: Any, ended: Any = None, follow: Any = ()) -> Any:
        return ("forwarded", chunks)

    def postprocess(self, job: Any, prepared: Any, outputs: Any) -> Any:
        return ("postprocessed", job, prepared, outputs)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loader:
    """Counts loads, fails when it is told to, and waits while it is held."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.wary: list[tuple[str, bool]] = []
        self.fail: dict[str, BaseException] = {}
        self.sizes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.clock = Clock()
        self.go = threading.Event()
        self.go.set()

    def looked(self, condition: Callable[[], bool]) -> bool:
        """Ask for as long as whoever makes room takes to look a few times."""
        time.sleep(0.1)
        return condition()

    def __call__(self, wanted: ModelKey, progress: Progress) -> Course:
        self.wary.append((wanted.model, progress.wary))
        if wanted.model in self.sizes:
            yield self.sizes[wanted.model]
            progress.took(self.sizes[wanted.model])
        self.loads.append(wanted.model)
        assert self.go.wait(10)
        self.clock.now += self.seconds.get(wanted.model, 0.0)
        if wanted.model in self.fail:
            raise self.fail[wanted.model]
        return Model(wanted.model)


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


def test_models_are_loaded_one_after_another(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    loader.go.clear()
    futures = [models.get(key(name)) for name in "ab"]
    until(lambda: loader.loads == ["a"])
    assert loader.looked(lambda: loader.loads == ["a"])
    loader.go.set()
    assert [future.result(10).name for future in futures] == ["a", "b"]


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
    models.pin([key("a"), key("b")])
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


def test_each_failure_in_a_row_doubles_the_pause(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 2, retry_after=10, clock=clock)
    loader.fail["a"] = ModelLoadFailed("no")
    for pause in (10, 20, 40):
        models.get(key("a")).exception(10)
        tried = len(loader.loads)
        clock.now += pause - 1
        models.get(key("a")).exception(10)
        assert len(loader.loads) == tried
        clock.now += 1
    del loader.fail["a"]
    assert models.get(key("a")).result(10).name == "a"


def test_a_load_that_may_kill_is_told_so_until_one_has_not(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 1, retry_after=10, clock=clock)
    loader.fail = {"a": ModelLoadFailed("it kills"), "b": UnknownModel("no b")}
    models.get(key("a"), wary=True).exception(10)
    clock.now += 60
    # Then it is forgotten that the first one has failed.
    models.get(key("b")).exception(10)
    assert [state.model for state in models.states()] == ["b"]

    models.get(key("a")).exception(10)
    clock.now += 60
    loader.fail.clear()
    take(models, "a")
    models.evict(lambda _: True)
    until(lambda: not names(models))
    # It was loaded here, and killed nobody.
    models.get(key("a"), wary=True).result(10)

    seen = [("a", True), ("b", False), ("a", True), ("a", True), ("a", False)]
    assert loader.wary == seen


def test_a_load_that_is_refused_its_room_is_closed() -> None:
    closed = []

    def load(wanted: ModelKey, _: Progress) -> Course:
        try:
            yield 11
        finally:
            closed.append(wanted.model)
        raise AssertionError("it went on")

    error = WarmModels(load, 1, memory=10).get(key("a")).exception(10)

    assert isinstance(error, ModelLoadFailed)
    assert closed == ["a"]


def test_a_load_that_is_at_work_is_joined_and_one_that_waits_becomes_wary(loader: Loader) -> None:
    models = WarmModels(loader, 2)
    loader.go.clear()
    for wary in (False, True):
        futures = [models.get(key(name), wary=wary) for name in "ab"]
        until(lambda: loader.loads == ["a"])
    loader.go.set()
    assert [future.result(10).name for future in futures] == ["a", "b"]
    assert loader.wary == [("a", False), ("b", True)]


def test_of_too_many_models_that_may_kill_the_oldest_is_forgotten(
    loader: Loader, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_SUSPECTS", 2)
    models = WarmModels(loader, 2, retry_after=10, clock=clock)
    loader.fail = {name: ModelLoadFailed("it kills") for name in "abc"}
    for wary in (True, False):
        for name in "abc":
            models.get(key(name), wary=wary).exception(10)
        clock.now += 60
    assert loader.wary[3:] == [("a", False), ("b", True), ("c", True)]


@pytest.mark.parametrize("fault", [KeyError("secret"), SystemExit("secret")])
def test_any_failure_is_a_failure_to_load(fault: BaseException, loader: Loader) -> None:
    models = WarmModels(loader, 2)
    loader.fail["a"] = fault
    error = models.get(key("a")).exception(10)
    assert isinstance(error, ModelLoadFailed)
    assert type(fault).__name__ in error.message
    assert "secret" not in error.message
    assert error.__cause__ is fault
    # And the thread lives on.
    assert models.get(key("b")).result(10).name == "b"


@pytest.mark.parametrize("step", ["loading", "probing"])
def test_a_load_that_hangs_is_trouble(step: str) -> None:
    go = threading.Event()

    def load(wanted: ModelKey, progress: Progress) -> Course:
        progress.step("fetching", timed=False)
        yield 1
        progress.step(step)
        assert go.wait(60)
        return Model(wanted.model)

    models = WarmModels(load, 2)
    assert models.trouble(0.05) is None
    future = models.get(key("a"))
    until(lambda: models.trouble(0.05) == "a step of a model's load has taken more than 0.05 s")
    assert models.trouble(60) is None
    go.set()
    assert future.result(10).name == "a"
    until(lambda: models.trouble(0.0) is None)


def test_neither_a_download_nor_the_wait_for_room_counts_as_hung(loader: Loader) -> None:
    go = threading.Event()

    def load(wanted: ModelKey, progress: Progress) -> Course:
        progress.step("fetching", timed=False)
        assert go.wait(60)
        yield 60
        progress.took(60)
        return Model(wanted.model)

    models = WarmModels(load, 9, memory=100)
    future = models.get(key("a"))
    until(lambda: _state(models, "a").step == "fetching")
    assert loader.looked(lambda: models.trouble(0.05) is None)
    go.set()
    held = future.result(10)
    waiting = models.get(key("b"))
    until(lambda: _state(models, "b").step == "making room")
    time.sleep(0.1)
    until(lambda: models.trouble(0.05) is None)
    models.evict(lambda each: each == key("a"))
    del future, held
    assert waiting.result(10).name == "b"


@pytest.mark.parametrize("fault", DEVICE_FAULTS, ids=str)
def test_a_device_that_is_lost_while_a_model_is_loaded_is_trouble_and_fails_nobody(
    fault: Exception, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    models = WarmModels(loader, 2)
    loader.fail["a"] = fault
    futures = [models.get(key(name)) for name in "ab"]
    until(lambda: models.trouble(60) == "the device was lost while a model was loaded")
    assert not any(future.done() for future in futures)
    assert f"the loader ended: {type(fault).__name__} at " in caplog.text


def test_a_device_that_is_lost_while_models_are_given_up_is_trouble(loader: Loader) -> None:
    def release() -> None:
        raise DEVICE_FAULTS[0]

    models = WarmModels(loader, 2, release=release)
    models.get(key("a")).result(10)
    models.evict(lambda _: True)
    until(lambda: models.trouble(60) == "the device was lost while a model was loaded")


@pytest.mark.parametrize("error", ORDINARY, ids=str)
def test_what_leaves_the_device_usable_is_a_failure_to_load(
    error: Exception, loader: Loader
) -> None:
    models = WarmModels(loader, 2)
    loader.fail["a"] = error
    assert isinstance(models.get(key("a")).exception(10), ModelLoadFailed)
    assert models.trouble(60) is None


def test_a_load_that_failed_keeps_nothing_of_the_model() -> None:
    made: list[weakref.ref[Model]] = []

    def load(wanted: ModelKey, progress: Progress) -> Course:
        yield 1
        model = Model(wanted.model)
        made.append(weakref.ref(model))
        try:
            raise KeyError(model.name)
        except KeyError:
            raise ModelLoadFailed("too large") from None

    models = WarmModels(load, 2)
    assert isinstance(models.get(key("a")).exception(10), ModelLoadFailed)
    until(lambda: _state(models, "a").state == "failed")
    assert [each() for each in made] == [None]


def test_made_up_names_do_not_gather(loader: Loader, clock: Clock) -> None:
    models = WarmModels(loader, 2, clock=clock)
    for index in range(50):
        loader.fail[str(index)] = Internal("no")
        models.get(key(str(index))).exception(10)
        clock.now += 11
    assert len(models.states()) <= 2


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


# -- memory ----------------------------------------------------------------------------------


def test_models_are_given_up_until_the_next_one_fits(loader: Loader) -> None:
    loader.sizes = {"a": 30, "b": 30, "c": 30, "d": 60}
    released: list[int] = []
    models = WarmModels(loader, 9, memory=100, release=lambda: released.append(1))
    for name in ("a", "b", "c"):
        take(models, name)
    assert names(models) == ["a", "b", "c"]
    take(models, "d")
    assert names(models) == ["c", "d"]
    assert sum(state.memory for state in models.states()) == 90
    assert released


def test_a_model_in_use_is_let_run_out_when_its_memory_is_wanted(
    loader: Loader, clock: Clock
) -> None:
    loader.sizes = {"a": 60, "b": 60}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = take(models, "a")
    wanted = models.get(key("b"))
    until(lambda: _state(models, "b").step == "making room")
    # It has its turn first,
    assert models.get(key("a")).done()
    clock.now += 60
    until(lambda: _state(models, "a").state == "leaving")
    # then takes no more jobs,
    again = models.get(key("a"))
    assert not again.done()
    assert not wanted.done()
    assert held.name == "a"
    # and those that it has are done before it goes.
    del held
    assert wanted.result(10).name == "b"
    clock.now += 60
    del wanted
    assert again.result(10).name == "a"
    assert loader.loads == ["a", "b", "a"]


def test_while_one_waits_for_room_others_are_loaded_that_have_it(
    loader: Loader, clock: Clock
) -> None:
    loader.sizes = {"a": 60, "b": 60, "c": 30, "d": 30, "huge": 101}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = take(models, "a")
    wanted = models.get(key("b"))
    until(lambda: _state(models, "b").step == "making room")
    assert _state(models, "b").memory == 60

    beside = take(models, "c")
    assert isinstance(models.get(key("huge")).exception(10), ModelLoadFailed)
    loader.fail["d"] = UnknownModel("no d")
    behind = models.get(key("d"))
    assert models.evict(lambda each: each.model == "c") == [key("c")]
    del beside
    # One goes while another waits, and one fails there that has its room then.
    assert isinstance(behind.exception(10), UnknownModel)
    assert take(models, "c").name == "c"
    assert not wanted.done()

    clock.now += 60
    until(lambda: _state(models, "a").state == "leaving")
    assert held.name == "a"
    del held
    assert wanted.result(10).name == "b"
    assert loader.loads == ["a", "c", "d", "c", "b"]
    assert set(names(models)) == {"b", "c"}


def test_small_models_do_not_starve_a_large_one(loader: Loader, clock: Clock) -> None:
    olds, news = ["o1", "o2", "o3", "o4", "o5"], ["n1", "n2", "n3"]
    loader.sizes = dict.fromkeys([*olds, *news], 20) | {"large": 60}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = {name: take(models, name) for name in olds}
    wanted = models.get(key("large"))
    until(lambda: _state(models, "large").step == "making room")
    clock.now += 60
    until(lambda: [_state(models, name).state for name in olds[:3]] == ["leaving"] * 3)

    # All that go are wanted again at once, and others too.
    later = {name: models.get(key(name)) for name in [*news, *olds[:3]]}
    for gone, comes in zip(olds, news[:2], strict=False):
        del held[gone]
        assert later[comes].result(10).name == comes
    # What has passed the large one fits beside it, and it waits for nothing that came after it.
    for gone in olds[2:]:
        assert not wanted.done()
        until(lambda: _state(models, gone).state == "leaving")  # noqa: B023 - asked in this turn only
        del held[gone]
    assert wanted.result(10).name == "large"
    assert loader.loads == [*olds, *news[:2], "large"]
    assert not any(later[name].done() for name in [news[2], *olds[:3]])


def test_who_has_left_the_room_free_need_not_go_for_it(loader: Loader, clock: Clock) -> None:
    loader.sizes = {"a": 30, "b": 30, "large": 60, "c": 20, "d": 20}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = {name: take(models, name) for name in "ab"}
    wanted = models.get(key("large"))
    until(lambda: _state(models, "large").step == "making room")
    beside = [take(models, name) for name in "cd"]
    # Those that were there before it are the ones asked for last.
    assert all(models.get(key(name)).done() for name in "ab")
    clock.now += 60
    until(lambda: [_state(models, name).state for name in "ab"] == ["leaving"] * 2)
    held.clear()
    assert wanted.result(10).name == "large"
    assert [each.name for each in beside] == ["c", "d"]
    assert loader.loads == ["a", "b", "c", "d", "large"]
    assert {_state(models, name).state for name in "cd"} == {"warm"}


def test_no_more_are_let_run_out_than_the_first_one_needs(loader: Loader, clock: Clock) -> None:
    loader.sizes = {"a": 50, "b": 50, "first": 20, "second": 70}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = {name: take(models, name) for name in "ab"}
    first, second = models.get(key("first")), models.get(key("second"))
    until(lambda: _state(models, "second").step == "making room")
    clock.now += 60
    until(lambda: _state(models, "a").state == "leaving")
    # One that leaves counts, though it was asked for last by now.
    again = models.get(key("a"))
    assert not loader.looked(lambda: _state(models, "b").state == "leaving")

    del held["a"]
    assert first.result(10).name == "first"
    until(lambda: _state(models, "b").state == "leaving")
    held.clear()
    assert second.result(10).name == "second"
    assert loader.loads == ["a", "b", "first", "second"]
    assert not again.done()


def test_an_unused_model_stays_as_long_as_its_room_is_not_enough(
    loader: Loader, clock: Clock
) -> None:
    loader.sizes = {"a": 60, "b": 60, "c": 30}
    models = WarmModels(loader, 9, memory=100, clock=clock)
    held = take(models, "a")
    take(models, "c")
    wanted = models.get(key("b"))
    until(lambda: _state(models, "b").step == "making room")
    assert not loader.looked(lambda: names(models) != ["a", "c"])
    assert models.get(key("c")).done()
    clock.now += 60
    until(lambda: _state(models, "a").state == "leaving")
    assert held.name == "a"
    del held
    assert wanted.result(10).name == "b"
    assert set(names(models)) == {"b", "c"}


def test_a_turn_pays_for_its_loading_and_what_it_cost_is_told(loader: Loader, clock: Clock) -> None:
    loader.sizes = {"a": 60, "b": 60}
    loader.seconds = {"a": 20.0, "b": 7.0}
    loader.clock = clock
    models = WarmModels(loader, 9, memory=100, clock=clock)
    paid: list[tuple[str, float]] = []
    models.charge(lambda model, seconds: paid.append((model.model, seconds)))
    held = take(models, "a")
    wanted = models.get(key("b"))
    until(lambda: _state(models, "b").step == "making room")

    clock.now += 79
    assert not loader.looked(lambda: _state(models, "a").state == "leaving")
    clock.now += 1
    until(lambda: _state(models, "a").state == "leaving")

    assert held.name == "a"
    del held
    assert wanted.result(10).name == "b"
    # Nobody went for the first one.
    assert paid == [("b", 7.0)]


def test_a_model_that_will_never_fit_fails_at_once_and_alone(loader: Loader) -> None:
    loader.sizes = {"a": 60, "b": 50, "c": 40}
    models = WarmModels(loader, 9, memory=100)
    models.pin([key("a")])
    held = take(models, "a")
    error = models.get(key("b")).exception(10)
    assert isinstance(error, ModelLoadFailed)
    assert "STOKER_MODEL_MEMORY" in error.message
    assert error.details == {"memory": 50, "limit": 100, "pinned": 60}
    assert take(models, "c").name == "c"
    assert names(models) == ["a", "c"]
    assert held.name == "a"


def test_what_others_hold_of_the_device_is_no_reason_to_wait(loader: Loader) -> None:
    loader.sizes = {"a": 30, "b": 30, "c": 30}
    models = WarmModels(loader, 9, memory=100, free=lambda: 10)
    held = take(models, "a")
    take(models, "b")
    take(models, "c")
    # What is unused is given up; what is in use stays, and the load is tried.
    assert names(models) == ["a", "c"]
    assert held.name == "a"


def test_an_evicted_model_goes_when_its_jobs_are_done(loader: Loader) -> None:
    models = WarmModels(loader, 9)
    models.pin([key("a")])
    held = take(models, "a")
    take(models, "b")
    assert models.evict(lambda each: each.model in ("a", "b", "c")) == [key("a"), key("b")]
    until(lambda: names(models) == ["a"])
    assert _state(models, "a").state == "leaving"
    assert held.name == "a"
    del held
    until(lambda: names(models) == [])
    assert take(models, "a").name == "a"


def test_where_each_model_stands_can_be_seen(loader: Loader) -> None:
    loader.sizes = {"a": 7}
    models = WarmModels(loader, 9)
    changes = threading.Event()
    models.listen(changes.set)
    models.pin([key("a")])
    take(models, "a")
    loader.fail["b"] = UnknownModel("no b")
    models.get(key("b")).exception(10)
    loader.go.clear()
    waiting = models.get(key("c"))
    until(lambda: _state(models, "c").step == "loading")
    seen = {
        each.model: (each.state, each.step, each.memory, each.pinned) for each in models.states()
    }
    assert seen == {
        "a": ("warm", "", 7, True),
        "b": ("failed", "no b", 0, False),
        "c": ("loading", "loading", 0, False),
    }
    assert all(each.used > 0 for each in models.states())
    assert changes.is_set()
    loader.go.set()
    assert waiting.result(10).name == "c"


def _state(models: WarmModels, name: str) -> ModelState:
    gc.collect()
    return next(each for each in models.states() if each.model == name)
