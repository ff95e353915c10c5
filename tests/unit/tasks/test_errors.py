"""Errors keep their type, words and facts on every way: JSON, pickle, results and Celery."""

import copy
import json
import pickle
from typing import Any

import pytest
from celery.backends.base import Backend
from celery.exceptions import ChordError

from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_tasks import errors
from stoker_tasks.errors import ErrorType, Internal, StokerError, by_type
from stoker_tasks.result import Failure

ALL = StokerError.__subclasses__()
every_error = pytest.mark.parametrize("cls", ALL, ids=[cls.__name__ for cls in ALL])


def test_each_type_has_one_class() -> None:
    assert sorted(cls.type for cls in ALL) == sorted(ErrorType)
    assert all(by_type(cls.type) is cls for cls in ALL)
    assert by_type("of_a_later_version") is Internal


def test_the_tree_in_the_docstring_names_them_all() -> None:
    assert errors.__doc__ is not None
    for cls in ALL:
        assert cls.__name__ in errors.__doc__
        assert cls.__doc__


@every_error
def test_words_and_facts(cls: type[StokerError]) -> None:
    error = cls("what to do", {"limit": 7})

    assert (error.message, error.details) == ("what to do", {"limit": 7})
    assert str(error) == "what to do"
    assert cls("only words").details == {}
    # Celery shows an exception's repr in logs and events.
    assert repr(error) == f"{cls.__name__}()"


@every_error
def test_they_survive_copying_and_pickling(cls: type[StokerError]) -> None:
    error = cls("what to do", {"limit": 7})

    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert type(again) is cls
        assert again.args == error.args


@every_error
def test_a_failure_stands_for_its_error(cls: type[StokerError]) -> None:
    failure = Failure.of(cls("secret", {"limit": 7}))

    assert "secret" not in repr(failure)
    assert failure.error is cls.type
    assert failure.retryable is cls.retryable
    again = Failure.model_validate_json(failure.model_dump_json()).to_error()
    assert type(again) is cls
    assert again.args == ("secret", {"limit": 7})


def test_canceled_and_expired_jobs_have_not_failed() -> None:
    assert Failure.of(errors.Canceled("")).status == "canceled"
    assert Failure.of(errors.Expired("")).status == "expired"
    assert Failure.of(errors.Internal("")).status == "failed"


@pytest.fixture(scope="module")
def backend() -> Backend:
    backend = make_app(Settings.model_validate({})).backend
    assert isinstance(backend, Backend)
    return backend


@every_error
def test_celery_gives_the_class_back(cls: type[StokerError], backend: Any) -> None:
    stored = json.loads(backend.encode(backend.prepare_exception(cls("words", {"limit": 7}))))

    assert stored == {
        "exc_type": cls.__name__,
        "exc_message": ["words", {"limit": 7}],
        "exc_module": "stoker_tasks.errors",
    }
    again = backend.exception_to_python(stored)
    assert type(again) is cls
    assert again.args == ("words", {"limit": 7})


def test_an_exception_that_quotes_an_error_does_not_quote_its_words() -> None:
    quoting = ChordError(f"Dependency x raised {errors.InvalidInput('secret')!r}")

    assert "secret" not in str(quoting)


@every_error
def test_one_error_may_differ_from_its_type(cls: type[StokerError]) -> None:
    failure = Failure.of(cls("again", {"retryable": not cls.retryable}))

    assert failure.retryable is not cls.retryable
    assert failure.to_error().retryable is failure.retryable
