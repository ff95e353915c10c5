"""One module reads the environment: whatever configures a process is a typed setting."""

import ast
from pathlib import Path

from tests.support.worker import ROOT

COMPONENTS = ("config", "tasks", "producers", "workers")
READERS = frozenset({"environ", "environb", "getenv", "getenvb"})


def reads_the_environment(path: Path) -> bool:
    """Tell whether a module names one of `os`'s ways to the environment."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in READERS:
            return True
        if isinstance(node, ast.ImportFrom) and READERS & {each.name for each in node.names}:
            return True
    return False


def test_only_settings_read_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for component in COMPONENTS
        for path in (ROOT / component).rglob("*.py")
        if reads_the_environment(path)
    }

    assert readers == {"config/stoker_config/settings.py"}
