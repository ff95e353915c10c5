"""A text with half of a surrogate pair is refused by its field's name, and nothing is sent."""

import asyncio

import pytest
import redis

from stoker import AsyncClient, Client, TextClassification, errors
from stoker_config.settings import Settings
from stoker_tasks.job import Job

HALF = "\ud83d"
FINE = TextClassification(inputs="wörds 😀 " * 100)


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (TextClassification(inputs=HALF), "inputs"),
        (TextClassification(inputs=["a", HALF + "long " * 100]), "inputs"),
        (TextClassification(inputs="a", model=HALF), "model"),
        (TextClassification(inputs="a", revision=HALF), "revision"),
    ],
    ids=["text", "beside", "model", "revision"],
)
def test_it_is_refused_before_anything_is_sent(redis_url: str, job: Job, field: str) -> None:
    # The inputs of all these but the shortest travel beside their messages.
    settings = Settings.model_validate({"redis_url": redis_url, "inline_limit": 64})

    async def send() -> None:
        async with AsyncClient(settings=settings) as client:
            await client.submit_many([FINE, job], allow_unserved=True)

    with Client(settings=settings) as client:
        for sent in (
            lambda: client.submit(job, allow_unserved=True),
            lambda: client.submit_many([FINE, job], allow_unserved=True),
            lambda: client.signature(job),
            lambda: asyncio.run(send()),
        ):
            with pytest.raises(errors.InvalidInput, match=f"{field}: .* surrogate") as caught:
                sent()
            assert caught.value.details == {"field": field}

    with redis.Redis.from_url(redis_url) as server:
        assert not server.keys()
