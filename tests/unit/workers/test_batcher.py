"""The batcher: who shares the next forward pass, and that nobody waits for ever."""

import random
from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_tasks.text import TextClassification
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.clocks import Clocks
from stoker_workers.engine.delivery import Delivery, Work
from stoker_workers.engine.model import Chunk, ModelKey, Prepared
from stoker_workers.engine.turns import EVERY
from stoker_workers.engine.window import Budget, Row, grow

STEPS = (0, 3, 6, 9)
# Which of the priorities have rows waiting.
SETS = [steps for count in (2, 3, 4) for steps in combinations(STEPS, count)]
BUDGET = Budget(tokens=1024, rows=64, window=256, efficiency=0.9, overhead=16)


def work(
    lengths: Sequence[int], model: str = "m", key: str = "", *, priority: int = 3, tenant: str = ""
) -> Work:
    delivery = Delivery(
        id="",
        celery_task="",
        args=(),
        kwargs={},
        submitted=0.0,
        priority=priority,
        redelivered=False,
        handle=None,
    )
    made = Work(delivery, key=ModelKey("text-classification", model), tenant=tenant)
    made.set_prepared(Prepared([Chunk({}, length, key) for length in lengths]))
    return made


def rows(lengths: Sequence[int]) -> list[Row]:
    made = work(lengths)
    assert made.prepared is not None
    return [Row(made, at, chunk, at) for at, chunk in enumerate(made.prepared.chunks)]


def form(batcher: Batcher) -> list[Row]:
    batch = batcher.form()
    return batch.rows if batch else []


def padded(batch: Sequence[Row]) -> int:
    return len(batch) * max(row.chunk.length for row in batch)


def useful(batch: Sequence[Row]) -> int:
    return sum(row.chunk.length for row in batch)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=256))
def test_a_batch_holds_the_oldest_and_stays_within_its_budget(lengths: list[int]) -> None:
    window = rows(lengths)

    batch = grow(window, BUDGET).rows

    assert window[0] in batch
    assert len(batch) <= BUDGET.rows
    assert len(batch) == 1 or padded(batch) <= BUDGET.tokens
    waste = padded(batch) - useful(batch)
    assert waste <= BUDGET.overhead or useful(batch) >= BUDGET.efficiency * padded(batch)


def test_equal_lengths_fill_the_budget() -> None:
    assert len(grow(rows([16] * 256), BUDGET).rows) == 64
    assert len(grow(rows([32] * 256), BUDGET).rows) == 32


def test_a_row_over_the_budget_runs_alone() -> None:
    assert useful(grow(rows([5000, 5000, 4999]), BUDGET).rows) == 5000


def test_neighbours_in_length_are_chosen_not_neighbours_in_time() -> None:
    batch = grow(rows([30, 500, 31, 2, 29, 400, 30]), BUDGET).rows

    assert sorted(row.chunk.length for row in batch) == [29, 30, 30, 31]


def test_a_sorted_window_wastes_far_less_than_order_of_arrival() -> None:
    random.seed(7)
    lengths = [min(512, max(3, int(random.lognormvariate(3.2, 1.0)))) for _ in range(2000)]
    batcher = Batcher(lambda _: BUDGET)
    for length in lengths:
        batcher.add(work([length]))
    batches = []
    while len(batcher):
        batches.append(form(batcher))

    mean = len(lengths) // len(batches)
    by_arrival = [lengths[at : at + mean] for at in range(0, len(lengths), mean)]
    arrival = sum(lengths) / sum(len(some) * max(some) for some in by_arrival)
    efficiency = sum(lengths) / sum(map(padded, batches))
    assert len(batches) <= len(lengths) / 4
    assert efficiency >= 0.9
    assert efficiency >= 2 * arrival


def test_each_batch_takes_the_oldest_row() -> None:
    random.seed(3)
    batcher = Batcher(lambda _: BUDGET)
    works = [work([random.randint(1, 500)]) for _ in range(300)]
    for each in works:
        batcher.add(each)
    left = list(works)
    while left:
        batch = form(batcher)
        assert left[0] in [row.work for row in batch]
        taken = {id(row.work) for row in batch}
        left = [each for each in left if id(each) not in taken]
    assert not len(batcher)


def test_a_higher_priority_seeds_the_batch_and_lower_ones_may_join_it() -> None:
    batcher = Batcher(lambda _: BUDGET)
    low = [work([10], priority=6) for _ in range(5)]
    for each in low:
        batcher.add(each)
    high = work([10], priority=0)
    batcher.add(high)

    batch = form(batcher)

    assert batch[0].work is high or high in [row.work for row in batch]
    assert len(batch) == 6


@pytest.mark.parametrize("steps", SETS, ids=str)
def test_backlogged_priorities_each_seed_in_time_and_the_highest_most_often(
    steps: tuple[int, ...],
) -> None:
    batcher = Batcher(lambda _: Budget(tokens=10, rows=1))
    bound = EVERY * (len(steps) - 1)
    seeds: list[int] = []
    for _ in range(4 * bound):
        for step in steps:
            batcher.add(work([10], model=f"m{step}", priority=step))
        [row] = form(batcher)
        seeds.append(row.work.delivery.priority)
        batcher.charge([row], 1.0)

    for step in steps:
        turns = [0, *(at for at, seed in enumerate(seeds, 1) if seed == step), len(seeds)]
        assert max(later - turn for turn, later in pairwise(turns)) <= bound
    assert seeds.count(steps[0]) >= 0.9 * len(seeds)
    lower = [seeds.count(step) for step in steps[1:]]
    assert max(lower) - min(lower) <= 1


@given(st.sampled_from(STEPS), st.data())
def test_a_priority_seeds_in_time_whatever_comes_and_goes_beside_it(
    waits: int, data: st.DataObject
) -> None:
    batcher = Batcher(lambda _: Budget(tokens=10, rows=1))
    batcher.add(work([10], priority=waits))
    for _ in range(data.draw(st.integers(0, 3 * EVERY))):
        batcher.add(work([10], priority=data.draw(st.sampled_from(STEPS))))
        form(batcher)
    waiting = work([10], model="new", priority=waits)
    batcher.add(waiting)
    for _ in range(EVERY * len(STEPS)):
        for step in data.draw(st.sets(st.sampled_from(STEPS))) - {waits}:
            batcher.add(work([10], priority=step))
        [row] = form(batcher)
        if row.work.delivery.priority == waits:
            return
    pytest.fail("it never had a turn")


def test_backlogged_models_get_equal_device_time_whatever_they_cost_and_send() -> None:
    batcher = Batcher(lambda _: Budget(tokens=40, rows=4))
    cost = {"quick": 0.01, "slow": 0.25, "quiet": 0.05}
    sends = {"quick": 40, "slow": 10, "quiet": 4}
    used = dict.fromkeys(cost, 0.0)
    for _ in range(400):
        for model, jobs in sends.items():
            if len(batcher) < 4000:
                for _ in range(jobs):
                    batcher.add(work([10], model=model))
        batch = form(batcher)
        assert batch[0].work.key is not None
        model = batch[0].work.key.model
        used[model] += cost[model]
        batcher.charge(batch, cost[model])
        assert max(used.values()) - min(used.values()) <= 2 * max(cost.values())


def test_a_model_that_was_idle_has_saved_up_no_claim() -> None:
    batcher = Batcher(lambda _: Budget(tokens=10, rows=1))
    for _ in range(100):
        batcher.add(work([10], model="busy"))
    for _ in range(50):
        batcher.charge(form(batcher), 1.0)
    for _ in range(100):
        batcher.add(work([10], model="late"))

    turns = []
    for _ in range(20):
        [row] = form(batcher)
        assert row.work.key is not None
        turns.append(row.work.key.model)
        batcher.charge([row], 1.0)

    assert turns.count("late") == 10


def test_a_model_pays_for_the_loading_for_which_others_had_to_go() -> None:
    batcher = Batcher(lambda _: BUDGET)
    for _ in range(2000):
        batcher.add(work([10], "stays"))
    batcher.charge(form(batcher), 1.0)
    for _ in range(2000):
        batcher.add(work([10], "swapped"))
    batcher.owe(ModelKey("text-classification", "swapped"), 5.0)
    turns = []
    for _ in range(12):
        batch = form(batcher)
        assert batch[0].work.key is not None
        turns.append(batch[0].work.key.model)
        batcher.charge(batch, 1.0)

    # It was loaded because jobs wait for it: it has its turn, and stands back for what it cost.
    first = turns.index("swapped")
    assert first <= 1
    assert turns[first + 1 : first + 6] == ["stays"] * 5
    assert turns[first + 6 :].count("swapped") >= 2


def test_a_model_pays_when_it_comes_back_for_a_loading_of_one_job() -> None:
    batcher = Batcher(lambda _: Budget(tokens=10, rows=1))
    swapped = ModelKey("text-classification", "swapped")
    batcher.add(work([10], "swapped"))
    last = form(batcher)
    batcher.owe(swapped, 5.0)
    batcher.charge(last, 1.0)
    for name in ("stays", "swapped") * 10:
        batcher.add(work([10], name))
    turns = []
    for _ in range(12):
        [row] = form(batcher)
        turns.append(row.work.key == swapped)
        batcher.charge([row], 1.0)

    assert not any(turns[:5])
    # It pays once.
    assert sum(turns[6:]) >= 2


def test_only_rows_of_one_model_and_one_key_share_a_batch() -> None:
    batcher = Batcher(lambda _: BUDGET)
    for at in range(12):
        batcher.add(work([10], model=f"m{at % 2}", key=f"k{at % 3}"))
    while batch := form(batcher):
        assert len({(row.work.key, row.chunk.key) for row in batch}) == 1
        assert len(batch) == 2


def test_a_batch_says_since_when_rows_have_waited_without_a_break() -> None:
    batcher = Batcher(lambda _: BUDGET)

    def comes(ready: float, model: str, priority: int = 3) -> None:
        made = work([8], model, priority=priority)
        made.ready = ready
        batcher.add(made)

    def since() -> float:
        batch = batcher.form()
        assert batch is not None
        return batch.since

    comes(10, "older")
    comes(12, "urgent", priority=0)
    first = since()
    comes(20, "urgent", priority=0)
    assert (first, since(), since()) == (10, 10, 10)
    comes(30, "older")
    assert since() == 30


def test_rows_of_one_job_may_spread_over_batches_and_none_is_lost() -> None:
    batcher = Batcher(lambda _: Budget(tokens=64, rows=4))
    many = work([10] * 9)
    batcher.add(many)
    positions = [row.position for batch in iter(lambda: form(batcher), []) for row in batch]
    assert sorted(positions) == list(range(9))


def test_every_other_batch_is_seeded_by_the_row_whose_time_runs_out_next() -> None:
    batcher = Batcher(lambda _: Budget(tokens=1, rows=1))
    waiting = [work([1]) for _ in range(6)]
    for made, seconds in ((waiting[4], 50), (waiting[5], 20)):
        job = TextClassification(inputs="x", queue_timeout=seconds)
        made.clocks = Clocks.of(job, submitted=0.0, now=lambda: 0.0)
    for made in waiting:
        batcher.add(made)

    order = [waiting.index(form(batcher)[0].work) for _ in range(6)]

    assert order == [0, 5, 1, 4, 2, 3]


@pytest.mark.parametrize(("models", "priorities"), [(1, (0, 9)), (1, (0, 3, 9)), (2, (3,))])
def test_rows_whose_time_runs_out_hold_up_none_of_their_priority_that_has_no_such_time(
    models: int, priorities: tuple[int, ...]
) -> None:
    batcher = Batcher(lambda _: Budget(tokens=1, rows=1))
    waiting = [
        work([1], model=f"m{model}", priority=priority)
        for model in range(models)
        for priority in priorities
    ]
    for made in waiting:
        batcher.add(made)
    left = list(waiting)
    for _ in range(2 * EVERY * len(waiting)):
        for made in waiting:
            assert made.key is not None
            due = work([1], model=made.key.model, priority=made.delivery.priority)
            due.clocks = Clocks.of(TextClassification(inputs="x", queue_timeout=9), 0.0, lambda: 0)
            batcher.add(due)
        [row] = form(batcher)
        left = [made for made in left if made is not row.work]
        # Not quite the same for both models, so that they have every other batch.
        batcher.charge([row], 1.001 if row.work.key == waiting[-1].key else 1.0)

    assert not left


def test_a_time_that_runs_out_lends_no_priority() -> None:
    batcher = Batcher(lambda _: Budget(tokens=1, rows=1))
    first, second, low = work([1]), work([1]), work([1], priority=6)
    low.clocks = Clocks.of(TextClassification(inputs="x", queue_timeout=1), 0.0, lambda: 0.0)
    for made in (first, second, low):
        batcher.add(made)

    assert [form(batcher)[0].work for _ in range(3)] == [first, second, low]


def test_backlogged_tenants_get_equal_device_time_whatever_they_send() -> None:
    batcher = Batcher(lambda _: Budget(tokens=40, rows=4))
    sends = {"loud": (50, 10), "long": (10, 40), "quiet": (2, 10)}
    used = dict.fromkeys(sends, 0)
    for _ in range(120):
        for tenant, (jobs, length) in sends.items():
            for _ in range(jobs):
                batcher.add(work([length], tenant=tenant))
        batch = form(batcher)
        for row in batch:
            used[row.work.tenant] += row.chunk.length
        batcher.charge(batch, sum(row.chunk.length for row in batch))
        assert max(used.values()) - min(used.values()) <= 2 * 40


def test_a_quiet_tenants_job_is_in_the_next_batch_but_one_however_much_waits_of_another() -> None:
    batcher = Batcher(lambda _: Budget(tokens=40, rows=4))
    for _ in range(5000):
        batcher.add(work([10], tenant="loud"))
    for _ in range(7):
        batcher.charge(form(batcher), 1.0)
    quiet = work([10], tenant="quiet")
    batcher.add(quiet)

    assert quiet in [row.work for _ in range(2) for row in form(batcher)]


@pytest.mark.parametrize(
    ("lengths", "budget", "reason"),
    [
        ([5, 6, 7], BUDGET, "drained"),
        ([5] * 9, Budget(tokens=1024, rows=4), "rows"),
        ([5] * 9, Budget(tokens=20, rows=64), "tokens"),
        ([5, 400], BUDGET, "padding"),
    ],
)
def test_a_batch_says_why_it_is_no_larger(lengths: list[int], budget: Budget, reason: str) -> None:
    assert grow(rows(lengths), budget).reason == reason
