"""Amounts of memory, as people write them."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_UNITS: Final = {"": 1, "B": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(value: object) -> object:
    """Read a number of bytes, or a share, from `2GiB`, `512 MiB` or a plain number.

    Raises:
        ValueError: It is none of these.
    """
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ValueError("must be a number of bytes, or of KiB, MiB or GiB such as 2GiB")
    return float(found[1]) * unit


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]


def in_words(size: int) -> str:
    """Write a number of bytes for people, in MiB."""
    return f"{size / MIB:,.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
