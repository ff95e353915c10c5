"""What the documents say is what the code does."""

import importlib.util
import re
from collections import Counter
from types import ModuleType
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from stoker_config.settings import Settings
from stoker_tasks.catalog import CATALOG
from stoker_tasks.describe import attribute_docs, fields_of, parameters_of
from stoker_tasks.errors import ErrorType, by_type
from stoker_tasks.result import Timing
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.window import Reason
from tests.support.worker import ROOT

MODELS: list[type[BaseModel]] = [Settings, *(spec.job for spec in CATALOG.values())]


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "tasks.md"])
def test_a_written_page_is_current(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")

    assert written == reference().pages()[name], "run: .venv/bin/python scripts/reference.py"


def test_every_setting_and_parameter_is_documented() -> None:
    undocumented = [
        f"{model.__name__}.{each.name}"
        for model in MODELS
        for each in fields_of(model)
        if not each.doc
    ] + [
        f"{spec.name}: {each.name}"
        for spec in CATALOG.values()
        for each in parameters_of(spec)
        if not each.doc
    ]

    assert undocumented == []


def test_no_docstring_tells_of_an_attribute_that_is_gone() -> None:
    gone = {
        name
        for cls in MODELS
        for name in attribute_docs(cls).keys() - attribute_docs(BaseSettings).keys()
        if name not in cls.model_fields
    }

    assert gone == set()


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_each_error_has_its_section(error_type: ErrorType) -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")

    sections = dict(re.findall(r"(?ms)^### `(\w+)`\n(.*?)(?=^##|\Z)", page))

    section = sections[error_type]
    assert f"`{by_type(error_type).__name__}`" in section
    assert ("May be retried" in section) is by_type(error_type).retryable
    assert "**Example.**" in section
    assert "**Remedy.**" in section


def test_what_is_measured_of_jobs_and_of_workers_is_described() -> None:
    reasons = get_args(Reason)

    assert described("results.md", "Where a job's time went") == list(Timing.model_fields)
    assert sorted(described("models.md", "What a worker has done")) == sorted(
        Meter(released=Counter(reasons)).read()
    )
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    [row] = re.findall(r"(?m)^\| `release_reason` \| (.+) \|$", page)
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted(reasons)


def described(name: str, section: str) -> list[str]:
    """List what the table of a page's section describes."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    _, text = page.split(f"\n## {section}\n")
    return re.findall(r"(?m)^\| `(\w+)` \| ", text.split("\n## ")[0])


def test_the_reading_order_names_every_module_once() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = ["config", "tasks", "producers", "workers"]
    modules = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }

    named = re.findall(r"(?m)^\| `((?:config|tasks|producers|workers)/[\w/]+\.py)` \|", page)

    assert sorted(named) == sorted(set(named))
    assert modules - set(named) == set(), "modules that ARCHITECTURE.md does not name"
    assert set(named) - modules == set(), "modules that ARCHITECTURE.md names, and that are gone"


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_what_only_stokers_transport_can_do_is_written() -> None:
    tests = "".join(each.read_text(encoding="utf-8") for each in ROOT.glob("tests/*/test_*.py"))
    reasons = set(re.findall(r'own_transport\(\s*"([^"]+)"', tests))
    page = (ROOT / "docs/celery.md").read_text(encoding="utf-8")

    assert len(reasons) > 3
    assert [reason for reason in sorted(reasons) if f"| {reason}" not in page] == []


def test_the_files_whose_tests_run_on_both_transports_are_named() -> None:
    files = {
        each.stem
        for each in ROOT.glob("tests/integration/test_*.py")
        if "mark.both_transports" in each.read_text(encoding="utf-8")
    }
    page = (ROOT / "docs/celery.md").read_text(encoding="utf-8")
    named = re.search(r"runs on both, (.+?) but for what", page, re.DOTALL)

    assert named is not None
    assert sorted(files) == re.findall(r"`(test_\w+)`", named.group(1))
