"""Submit typed jobs for Hugging Face pipelines and read their results: the producer's side."""

from stoker.client import Client
from stoker.handle import JobHandle
from stoker.status import CancelAnswer, State, Status
from stoker_tasks import errors
from stoker_tasks.audio import AutomaticSpeechRecognition
from stoker_tasks.errors import StokerError
from stoker_tasks.image import ImageClassification
from stoker_tasks.job import Job
from stoker_tasks.media import Media
from stoker_tasks.result import Artifact, Failure, Result, Success, Timing
from stoker_tasks.text import (
    FeatureExtraction,
    FillMask,
    TextClassification,
    TextGeneration,
    TokenClassification,
    ZeroShotClassification,
)
from stoker_tasks.wire import make_job

__all__ = [
    "Artifact",
    "AutomaticSpeechRecognition",
    "CancelAnswer",
    "Client",
    "Failure",
    "FeatureExtraction",
    "FillMask",
    "ImageClassification",
    "Job",
    "JobHandle",
    "Media",
    "Result",
    "State",
    "Status",
    "StokerError",
    "Success",
    "TextClassification",
    "TextGeneration",
    "Timing",
    "TokenClassification",
    "ZeroShotClassification",
    "errors",
    "make_job",
]
