"""A post that hangs holds its origin's slot only until its neighbours show that it hangs."""

from stoker_workers.webhooks.slots import Begun, Slots

HERE, THERE = "http://here", "http://there"


def slots_of(slots: Slots, origin: str) -> int:
    return next((each.slots for each in slots.busy() if each.origin == origin), 0)


def answered(slots: Slots, *posts: Begun) -> None:
    for each in posts:
        slots.end(each, answered=True, well=True)


def test_posts_hold_slots_of_their_own_origin_until_they_end() -> None:
    slots = Slots(100, 8)
    posts = [slots.begin(HERE) for _ in range(3)]
    slots.begin(THERE)

    assert (slots.free, slots_of(slots, HERE), slots_of(slots, THERE)) == (96, 3, 1)
    answered(slots, *posts)
    assert (slots.free, slots_of(slots, HERE), slots_of(slots, THERE)) == (99, 0, 1)


def test_a_post_that_later_ones_overtake_holds_no_slot_and_is_still_under_way() -> None:
    slots = Slots(100, 8)
    hangs, first, second = (slots.begin(HERE) for _ in range(3))

    # A quarter of eight slots have to be answered first.
    answered(slots, first)
    assert slots_of(slots, HERE) == 2
    answered(slots, second)
    [busy] = slots.busy()
    assert (busy.posts, busy.slots, slots.free) == (1, 0, 99)
    slots.end(hangs, answered=False, well=False)
    assert (list(slots.busy()), slots.free) == ([], 100)


def test_answers_in_order_and_silence_overtake_nothing() -> None:
    slots = Slots(100, 4)
    for _ in range(50):
        earlier, later = slots.begin(HERE), slots.begin(HERE)
        answered(slots, earlier)
        assert slots_of(slots, HERE) == 1
        slots.end(later, answered=True, well=False)

    hanging, *refused = [slots.begin(HERE) for _ in range(9)]
    for each in refused:
        slots.end(each, answered=False, well=False)
    assert slots_of(slots, HERE) == 1
    # Nor does what another origin answers.
    answered(slots, slots.begin(THERE), slots.begin(THERE))
    assert slots_of(slots, HERE) == 1
    slots.end(hanging, answered=False, well=False)


def test_half_of_what_hangs_leaves_the_other_half_its_slots() -> None:
    slots, hanging = Slots(1000, 8), []
    for _ in range(200):
        hanging.append(slots.begin(HERE))
        answered(slots, slots.begin(HERE))
        assert slots_of(slots, HERE) <= 2

    assert slots.free == 800


def test_overtaken_posts_leave_half_of_what_is_free_to_others() -> None:
    slots = Slots(30, 4)
    for _ in range(20):
        slots.begin(HERE)
        answered(slots, slots.begin(HERE))

    # Of ten that are free five are theirs, and fifteen hold slots after all.
    assert slots.free == 10
    assert slots_of(slots, HERE) == 15


def test_a_failure_that_a_later_post_s_success_has_outlived_is_told_apart() -> None:
    slots = Slots(100, 8)
    early, well, late = (slots.begin(HERE) for _ in range(3))

    assert not slots.end(well, answered=True, well=True)
    assert slots.end(early, answered=False, well=False)
    assert not slots.end(late, answered=False, well=False)
