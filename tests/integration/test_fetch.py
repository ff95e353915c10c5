"""Files come in by URL, and bombs too: a real worker refuses what is bad, and runs the rest."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from stoker import Client, Failure, ImageClassification, Job, Media, Success, errors, make_job
from stoker_config.settings import Settings
from stoker_tasks.errors import ErrorType
from stoker_tasks.limits import DEPTH
from tests.doubles.stock import Producer
from tests.parity.batched import differences, pipeline_alone
from tests.parity.cases.case import for_pipeline
from tests.support.http_server import WebServer, give, serving
from tests.support.s3 import S3
from tests.support.worker import Worker, model_worker
from tests.tiny import media
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

SECONDS = 60.0
SIGNATURE = "s1gn4ture"
PICTURES = {f"/{seed}.png": media.picture(40 + seed, 50, seed) for seed in range(6)}
LIMIT = 100_000
ITEMS = 50
TEXT = 20_000
HOSTS = ("http://127.0.0.2", "http://[::1]", "http://2130706434", "http://169.254.169.254")
# Nothing of this site is open: the worker must not come here.
INSIDE = "127.0.0.2"


@pytest.fixture(scope="module")
def inside() -> Iterator[WebServer]:
    with serving(lambda request: give(request, 200, PICTURES["/0.png"]), INSIDE) as running:
        yield running


@pytest.fixture(scope="module")
def held() -> threading.Event:
    """Lets the slow part of the site answer."""
    return threading.Event()


@pytest.fixture(scope="module")
def site(inside: WebServer, held: threading.Event) -> Iterator[str]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path.startswith("/slow"):
            held.wait(SECONDS)
            path = path.removeprefix("/slow")
        if path in PICTURES:
            give(request, 200, PICTURES[path], content_type="image/png")
        elif path == "/large":
            give(request, 200, b"f" * (LIMIT + 1))
        elif path == "/page":
            give(request, 200, b"<html>", content_type="text/html")
        elif path == "/inside":
            give(request, 302, location=f"http://{INSIDE}:{inside.port}/")
        else:
            give(request, 404)

    with serving(answer) as running:
        yield f"http://127.0.0.1:{running.port}"


@pytest.fixture(scope="module", autouse=True)
def real_worker(
    module_redis: str, s3: S3, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    models = {
        "image-classification": tiny("vit_classifier"),
        "automatic-speech-recognition": tiny("wav2vec2_layer"),
        "text-generation": tiny("llama_chat"),
    }
    with model_worker(
        module_redis,
        folder,
        models,
        batch_tokens=4096,
        log_level="debug",
        allowed_networks="127.0.0.1",
        input_buckets=s3.bucket,
        fetch_limit=LIMIT,
        max_items=ITEMS,
        max_text=TEXT,
        s3_endpoint=s3.endpoint,
        s3_path_style="true",
    ) as running:
        yield running
        # Of what all these tests named, nothing was written down.
        for each in (SIGNATURE, ".png", "X-Amz"):
            assert each not in running.lines()


@pytest.fixture(scope="module")
def alone(tiny: TinyModel) -> dict[str, object]:
    """What the pipeline says of each picture by itself."""
    pipeline = pipeline_alone("image-classification", tiny("vit_classifier"))
    return {path: pipeline(for_pipeline(data)) for path, data in PICTURES.items()}


def classify(*urls: str) -> Job:
    inputs = [Media(url=f"{url}?signature={SIGNATURE}") for url in urls]
    return make_job("image-classification", {"inputs": inputs if len(urls) > 1 else inputs[0]})


def test_pictures_of_a_site_are_classified(
    module_client: Client, site: str, alone: dict[str, object]
) -> None:
    jobs = [classify(site + path) for path in PICTURES]
    jobs.append(classify(*(site + path for path in PICTURES)))

    *single, many = [each.result(SECONDS) for each in module_client.submit_many(jobs)]

    for path, result in zip(PICTURES, single, strict=True):
        assert differences(result.output, alone[path]) == []
        assert result.timing.fetch_ms > 0
    assert differences(many.output, list(alone.values())) == []


@pytest.mark.parametrize("key", ["a.png", "with spaces/ü?.png"])
def test_an_object_of_an_open_bucket_is_classified(
    key: str, module_client: Client, s3: S3, alone: dict[str, object]
) -> None:
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=PICTURES["/3.png"])
    job = ImageClassification(inputs=Media(url=f"s3://{s3.bucket}/{key}"))

    result = module_client.submit(job).result(SECONDS)

    assert differences(result.output, alone["/3.png"]) == []


def test_a_presigned_url_is_a_url_like_others(
    module_client: Client, s3: S3, alone: dict[str, object]
) -> None:
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="b.png", Body=PICTURES["/2.png"])
    wanted = {"Bucket": s3.bucket, "Key": "b.png"}
    url = client.generate_presigned_url("get_object", Params=wanted)

    result = module_client.submit(ImageClassification(inputs=Media(url=url))).result(SECONDS)

    assert differences(result.output, alone["/2.png"]) == []


def test_a_file_is_uploaded_once_for_many_jobs(
    module_client: Client, alone: dict[str, object]
) -> None:
    uploaded = module_client.upload(PICTURES["/1.png"])
    jobs = [ImageClassification(inputs=uploaded) for _ in range(3)]

    for each in module_client.submit_many(jobs):
        assert differences(each.result(SECONDS).output, alone["/1.png"]) == []


def test_bad_files_fail_their_own_jobs(
    module_client: Client, site: str, s3: S3, alone: dict[str, object], inside: WebServer
) -> None:
    s3.client().put_object(Bucket=s3.bucket, Key="large", Body=b"f" * (LIMIT + 1))
    bad = {
        f"{site}/nothing": ErrorType.INPUT_FETCH_FAILED,
        f"{site}/page": ErrorType.INPUT_FETCH_FAILED,
        f"{site}/large": ErrorType.TOO_LARGE,
        f"{site}/inside": ErrorType.INPUT_FETCH_FAILED,
        **{f"{host}:{inside.port}/": ErrorType.INPUT_FETCH_FAILED for host in HOSTS},
        f"s3://{s3.bucket}/nothing": ErrorType.INPUT_FETCH_FAILED,
        f"s3://{s3.bucket}/large": ErrorType.TOO_LARGE,
        "s3://another-bucket/a.png": ErrorType.INPUT_FETCH_FAILED,
    }
    good = list(PICTURES)
    # One of several is enough to fail a job.
    jobs: list[Job] = [ImageClassification(inputs=Media(url=url)) for url in bad]
    jobs += [classify(site + path) for path in good]
    jobs.append(classify(site + good[0], f"{site}/nothing"))

    results = [each.wait(SECONDS) for each in module_client.submit_many(jobs)]

    failed = [*results[: len(bad)], results[-1]]
    for wanted, result in zip([*bad.values(), ErrorType.INPUT_FETCH_FAILED], failed, strict=True):
        assert isinstance(result, Failure)
        assert result.error is wanted
        assert not result.retryable
        assert result.message
    for path, result in zip(good, results[len(bad) : -1], strict=True):
        assert isinstance(result, Success)
        assert differences(result.output, alone[path]) == []
    assert inside.paths == []


def test_a_slow_host_holds_up_nobody_else(
    module_client: Client, site: str, held: threading.Event, alone: dict[str, object]
) -> None:
    held.clear()
    slow = module_client.submit_many([classify(f"{site}/slow{path}") for path in PICTURES])
    inline = module_client.submit(ImageClassification(inputs=PICTURES["/1.png"]))

    assert differences(inline.result(SECONDS).output, alone["/1.png"]) == []
    assert not any(each.status().terminal for each in slow)
    held.set()

    for path, each in zip(PICTURES, slow, strict=True):
        assert differences(each.result(SECONDS).output, alone[path]) == []


# -- bombs ---------------------------------------------------------------------------------------


def picture_of(width: int, height: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, form)
    return buffer.getvalue()


def generous(redis_url: str) -> Client:
    """Give a client that sends what its worker will not take."""
    given = {"redis_url": redis_url, "max_items": 10**9, "max_text": 10**9}
    return Client(settings=Settings.model_validate(given))


def test_bombs_go_off_in_nobodys_hands(
    module_client: Client, module_redis: str, alone: dict[str, object]
) -> None:
    image, speech, generate = (
        "image-classification",
        "automatic-speech-recognition",
        "text-generation",
    )
    # Two hours and more, in some kilobytes.
    silence = media.sound(np.zeros(7_300_000, np.float32), 1_000, "FLAC")
    large = module_client.upload(picture_of(9_000, 9_000))
    allowed = module_client.upload(picture_of(7_000, 7_000))
    bad: list[tuple[str, dict[str, object], ErrorType, str]] = [
        (image, {"inputs": large}, ErrorType.TOO_LARGE, "64,000,000 pixels"),
        (image, {"inputs": [allowed] * 6}, ErrorType.TOO_LARGE, "pixels together"),
        (image, {"inputs": picture_of(1, 60_000)}, ErrorType.INVALID_INPUT, "100 times"),
        (image, {"inputs": picture_of(0x7FFF, 1, "BMP")}, ErrorType.INVALID_INPUT, "100 times"),
        (image, {"inputs": b"%PDF-1.7"}, ErrorType.INVALID_INPUT, "cannot be read"),
        (speech, {"inputs": silence}, ErrorType.TOO_LARGE, "longer than 7200 seconds"),
        (image, {"inputs": [{"base64": ""}] * (ITEMS + 1)}, ErrorType.TOO_LARGE, "MAX_ITEMS"),
        (generate, {"inputs": "a" * (TEXT + 1)}, ErrorType.TOO_LARGE, "MAX_TEXT"),
        (generate, {"inputs": "a" * 1_000_000}, ErrorType.TOO_LARGE, "MAX_TEXT"),
    ]
    with generous(module_redis) as client:
        jobs: list[Job] = []
        for (task, fields, _, _), path in zip(bad, cycle(PICTURES), strict=False):
            jobs += [make_job(task, fields), ImageClassification(inputs=PICTURES[path])]
        results = [each.wait(SECONDS) for each in client.submit_many(jobs)]

    for (_, _, error, said), result in zip(bad, results[::2], strict=True):
        assert isinstance(result, Failure), said
        assert (result.error, result.retryable) == (error, False)
        assert said in result.message
    for path, result in zip(cycle(PICTURES), results[1::2], strict=False):
        assert isinstance(result, Success)
        assert differences(result.output, alone[path]) == []


@pytest.mark.parametrize("depth", [DEPTH, 500, 100_000])
@pytest.mark.parametrize("beside", [False, True], ids=["message", "claim"])
def test_what_nests_too_deep_is_refused(
    depth: int, beside: bool, stock: Producer, module_client: Client, alone: dict[str, object]
) -> None:
    inputs = f'[{{"role": "user", "content": "hi", "tools": {"[" * depth}{"]" * depth}}}]'
    if beside:
        uri = module_client.upload(inputs.encode()).uri
        arguments = json.dumps({"claim": uri})
    else:
        arguments = f'{{"inputs": {inputs}}}'
    job_id = str(uuid4())
    stock.publish(
        f"[[], {arguments}, {{}}]".encode(),
        "stoker",
        {"task": "stoker.text_generation", "id": job_id},
        content_type="application/json",
        content_encoding="utf-8",
    )
    neighbour = module_client.submit(ImageClassification(inputs=PICTURES["/2.png"]))

    result = module_client.wait(job_id, SECONDS)

    assert isinstance(result, Failure)
    assert result.error is ErrorType.INVALID_INPUT
    assert differences(neighbour.result(SECONDS).output, alone["/2.png"]) == []


def test_a_producer_refuses_what_it_can_see(module_redis: str) -> None:
    settings = Settings.model_validate({"redis_url": module_redis, "max_items": 3, "max_text": 9})
    bad = [
        make_job("text-generation", {"inputs": "a" * 10}),
        make_job("text-generation", {"inputs": ["a"] * 4}),
        make_job("image-classification", {"inputs": {"base64": "####"}}),
    ]
    with Client(settings=settings) as client:
        for job in bad:
            with pytest.raises((errors.TooLarge, errors.InvalidInput)):
                client.submit(job, allow_unserved=True)
            with pytest.raises((errors.TooLarge, errors.InvalidInput)):
                client.signature(job)
            with pytest.raises((errors.TooLarge, errors.InvalidInput)):
                client.signature(job.task, inputs=job.inputs)
        with pytest.raises(errors.InvalidInput, match="STOKER_RETENTION_MAX"):
            client.signature("text-generation", retention=settings.retention_max + 1)
