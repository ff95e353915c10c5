"""The demo's array: a job's output that is kept in S3, fetched by a URL that needs no key."""

import ast
import struct
from collections.abc import Sequence
from typing import Final
from urllib.request import ProxyHandler, build_opener

from stoker import Client, FeatureExtraction
from stoker.demo.corpus import Paragraph

_SECONDS: Final = 60.0
# The NPY format, version 1: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
_MAGIC: Final = b"\x93NUMPY\x01\x00"


def fetch_array(client: Client, model: str, corpus: Sequence[Paragraph]) -> str:
    """Have a vector made of each token of a long text, and fetch them all from S3.

    Args:
        client: A producer.
        model: The embedding model.
        corpus: Where the text is taken from.

    Returns:
        What was done, in words.

    Raises:
        ValueError: What was fetched is not what the result told of.
    """
    text = max((paragraph.text for paragraph in corpus), key=len)
    job = FeatureExtraction(inputs=text, model=model, parameters={"truncation": True})  # type: ignore[arg-type]
    result = client.submit(job).result(_SECONDS)
    [artifact] = result.artifacts
    url = client.presign(artifact.uri)
    # No proxy that the environment names may stand in between.
    with build_opener(ProxyHandler({})).open(url, timeout=_SECONDS) as answer:
        data = answer.read()
    shape = _shape(data)
    if len(data) != artifact.size or shape != result.output["shape"]:
        raise ValueError(f"{url} gave {len(data)} bytes of shape {shape}, not {result.output}")
    numbers = " × ".join(map(str, shape))
    return f"{numbers} numbers, {len(data) // 1024} KiB, from {url.partition('?')[0]}?…"


def _shape(data: bytes) -> list[int]:
    """Read the shape of an array in the NPY format."""
    if not data.startswith(_MAGIC):
        return []
    (length,) = struct.unpack_from("<H", data, len(_MAGIC))
    header = ast.literal_eval(data[len(_MAGIC) + 2 :][:length].decode("latin-1"))
    return list(header["shape"])
