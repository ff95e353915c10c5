"""Jobs of different callers that may share a forward pass, for each task, by family."""

from tests.parity.cases import (
    answering,
    audio,
    deciding,
    generation,
    image,
    image_words,
    listening,
    multimodal,
    regions,
    rewriting,
    speaking,
    text,
    video,
)

CASES = (
    *text.CASES,
    *generation.CASES,
    *answering.CASES,
    *deciding.CASES,
    *rewriting.CASES,
    *image.CASES,
    *image_words.CASES,
    *regions.CASES,
    *video.CASES,
    *multimodal.CASES,
    *audio.CASES,
    *listening.CASES,
    *speaking.CASES,
)
