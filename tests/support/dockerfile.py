"""Reads Dockerfiles: as much of their language as this repository uses."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.worker import ROOT


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: Its name, such as `COPY`.
        rest: What follows, on one line.
    """

    name: str
    rest: str


@dataclass(frozen=True)
class Stage:
    """One stage of a build.

    Attributes:
        name: Its name; empty if it has none.
        base: The image or stage that it starts from.
        instructions: Its instructions after FROM.
    """

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def named(self, name: str) -> list[str]:
        """Give what follows each instruction of a name."""
        return [each.rest for each in self.instructions if each.name == name]


def read(path: str) -> dict[str, Stage]:
    """Read a Dockerfile.

    Args:
        path: Its path below the repository's root.

    Returns:
        Its stages by name, each with the instructions of the stages that it starts from.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))
    stages: dict[str, Stage] = {}
    for line in filter(None, joined.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            before = stages[base].instructions if base in stages else ()
            image = stages[base].base if base in stages else base
            last = stage
            stages[last] = Stage(stage, image, before)
        else:
            found = stages[last]
            instructions = (*found.instructions, Instruction(name, rest))
            stages[last] = Stage(found.name, found.base, instructions)
    return stages


def in_build_context(path: str) -> bool:
    """Tell whether .dockerignore, a list of what is not ignored, lets a top-level path through."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    return f"!{path}" in lines and Path(ROOT, path).exists()
