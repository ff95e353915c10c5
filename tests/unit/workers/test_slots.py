"""A post that hangs holds its origin's slot only until its neighbours show that it hangs."""

from stoker_workers.webhooks.slots import Begun, Slots

HERE, THERE = "http://here", "http://there"


def slots_of(slots: Slots, origin: str) -> int:
    return next((each.slots for each in slots.busy() if each.origin == origin), 0)


def taken(slots: Slots, *posts: Begun) -> None:
    for each in posts:
        slots.end(each, well=True)


def test_posts_hold_slots_of_their_own_origin_until_they_end() -> None:
    slots = Slots(100, 8)
    posts = [slots.begin(HERE) for _ in range(3)]
    slots.begin(THERE)

    assert (slots.free, slots_of(slots, HERE), slots_of(slots, THERE)) == (96, 3, 1)
    taken(slots, *posts)
    assert (slots.free, slots_of(slots, HERE), slots_of(slots, THERE)) == (99, 0, 1)


def test_a_post_that_later_ones_overtake_holds_no_slot_and_is_still_under_way() -> None:
    slots = Slots(100, 8)
    hangs, first, second = (slots.begin(HERE) for _ in range(3))

    # A quarter of eight slots have to be answered first.
    taken(slots, first)
    assert slots_of(slots, HERE) == 2
    taken(slots, second)
    [busy] = slots.busy()
    assert (busy.posts, busy.slots, slots.free) == (1, 0, 99)
    slots.end(hangs, well=False)
    assert (list(slots.busy()), slots.free) == ([], 100)


def test_answers_in_order_and_refusals_overtake_nothing() -> None:
    slots = Slots(100, 4)
    for _ in range(50):
        earlier, later = slots.begin(HERE), slots.begin(HERE)
        taken(slots, earlier)
        assert slots_of(slots, HERE) == 1
        slots.end(later, well=False)

    # Whether it says nothing or that it has no room for more.
    hanging, *refused = [slots.begin(HERE) for _ in range(9)]
    for each in refused:
        slots.end(each, well=False)
    assert slots_of(slots, HERE) == 1
    # Nor does what another origin takes.
    taken(slots, slots.begin(THERE), slots.begin(THERE))
    assert slots_of(slots, HERE) == 1
    slots.end(hanging, well=False)


def overtaken(slots: Slots, origin: str, many: int) -> None:
    """Have so many posts hang while others are taken, each of which overtakes."""
    for _ in range(many):
        slots.begin(origin)
        taken(slots, slots.begin(origin))


def test_half_of_what_hangs_leaves_the_other_half_its_slots() -> None:
    slots = Slots(1000, 4)
    for hanging in range(1, 65):
        overtaken(slots, HERE, 1)
        assert (slots_of(slots, HERE), slots.free) == (0, 1000 - hanging)


def test_of_one_origin_sixteen_overtaken_posts_a_slot_hold_none() -> None:
    slots = Slots(1000, 4)
    overtaken(slots, HERE, 70)
    overtaken(slots, THERE, 3)

    assert (slots_of(slots, HERE), slots_of(slots, THERE)) == (6, 0)


def test_of_all_origins_together_a_quarter_of_the_slots_may_be_overtaken() -> None:
    slots = Slots(40, 4)
    origins = [f"http://{at}" for at in range(5)]
    for each in origins:
        overtaken(slots, each, 2)
    assert [slots_of(slots, each) for each in origins] == [0] * 5

    overtaken(slots, HERE, 3)
    assert [slots_of(slots, each) for each in (*origins, HERE, THERE)] == [2] * 5 + [3, 0]


def test_a_failure_that_a_later_post_s_success_has_outlived_is_told_apart() -> None:
    slots = Slots(100, 8)
    early, well, late = (slots.begin(HERE) for _ in range(3))

    assert not slots.end(well, well=True)
    assert slots.end(early, well=False)
    assert not slots.end(late, well=False)
