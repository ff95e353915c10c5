"""The slots of a courier: how many posts may be under way, and how many of them to one origin.

A post that hangs must not keep its origin's other events waiting. That it hangs is known from its
neighbours: others that began after it have been taken. Such a post is *overtaken* and holds none of
its origin's slots any more, though it still is one of the courier's. An origin that takes nothing
overtakes nothing, and so never has more posts under way than its slots.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# A post is overtaken when of those that began later as many as this part of its origin's slots were
# taken.
_SHARE: Final = 4
# Overtaken posts hold no slots as long as they are no more than this part of the courier's slots,
# and an origin's no more than so many for each slot of its own.
_EXCUSED_SHARE: Final = 4
_EXCUSED_OF_ONE: Final = 16


@dataclass(frozen=True)
class Begun:
    """One post that is under way.

    Attributes:
        origin: Whom it goes to.
        number: How many began before it to this origin.
    """

    origin: str
    number: int


@dataclass(frozen=True)
class Busy:
    """What an origin has under way.

    Attributes:
        origin: The origin.
        posts: How many posts.
        slots: How many of its slots these hold.
    """

    origin: str
    posts: int
    slots: int


@dataclass
class _Origin:
    begun: int = 0
    # Those that hold a slot, in the order of their beginning, with how many have overtaken each.
    holding: dict[int, int] = field(default_factory=dict)
    overtaken: set[int] = field(default_factory=set)
    # The latest to begin of those that were taken.
    well: int = -1

    def posts(self) -> int:
        return len(self.holding) + len(self.overtaken)


class Slots:
    """Counts the posts that are under way.

    Args:
        most: How many there may be.
        most_of_one: How many slots one origin has.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._enough = max(1, most_of_one // _SHARE)
        self._excused = most // _EXCUSED_SHARE
        self._excused_of_one = most_of_one * _EXCUSED_OF_ONE
        self._origins: dict[str, _Origin] = {}
        self._posts = 0

    @property
    def free(self) -> int:
        """How many posts may begin."""
        return self._most - self._posts

    def begin(self, origin: str) -> Begun:
        """Note that a post begins."""
        found = self._origins.setdefault(origin, _Origin())
        post = Begun(origin, found.begun)
        found.holding[post.number] = 0
        found.begun += 1
        self._posts += 1
        return post

    def end(self, post: Begun, *, well: bool) -> bool:
        """Note that a post has ended.

        Args:
            post: The post.
            well: Whether its answer says that the origin is well. Only then does it overtake
                others: who turns posts away has no room for more.

        Returns:
            Whether the origin has been well to a post that began later: then this one's failure
            says nothing of how it is now.
        """
        found = self._origins[post.origin]
        found.holding.pop(post.number, None)
        found.overtaken.discard(post.number)
        self._posts -= 1
        stale = post.number < found.well
        if well:
            found.well = max(found.well, post.number)
            self._overtake(found, post.number)
        if not found.posts():
            del self._origins[post.origin]
        return stale

    def busy(self) -> Iterator[Busy]:
        """Give what each origin has under way.

        Overtaken posts that are too many, of all origins or of one, hold slots after all: so they
        leave room for others', however many origins there are whose posts hang.
        """
        over = sum(len(each.overtaken) for each in self._origins.values()) - self._excused
        for name, found in self._origins.items():
            overtaken = len(found.overtaken)
            held = max(0, min(overtaken, over), overtaken - self._excused_of_one)
            yield Busy(name, found.posts(), len(found.holding) + held)

    def _overtake(self, found: _Origin, number: int) -> None:
        for earlier in list(found.holding):
            if earlier > number:
                return
            found.holding[earlier] += 1
            if found.holding[earlier] >= self._enough:
                del found.holding[earlier]
                found.overtaken.add(earlier)
