"""Submit typed jobs for Hugging Face pipelines and read their results: the producer's side."""

from typing import TYPE_CHECKING, Any

from stoker import webhooks
from stoker.client import Client
from stoker.delete import DeleteAnswer
from stoker.handle import JobHandle
from stoker.retry import RetryAnswer
from stoker.status import CancelAnswer, State, Status
from stoker_tasks import errors
from stoker_tasks.answering import (
    DocumentQuestion,
    DocumentQuestionAnswering,
    DocumentQuestionAnsweringParameters,
    QuestionAnswering,
    QuestionAnsweringParameters,
    TableQuestion,
    TableQuestionAnswering,
    TableQuestionAnsweringParameters,
    TextQuestion,
)
from stoker_tasks.audio import (
    AudioClassification,
    AudioClassificationParameters,
    AutomaticSpeechRecognition,
    AutomaticSpeechRecognitionParameters,
    ZeroShotAudioClassification,
    ZeroShotAudioClassificationParameters,
)
from stoker_tasks.deciding import (
    ChoiceQuestion,
    Decision,
    DecisionRequest,
    NoulQuestion,
    ScoreQuestion,
)
from stoker_tasks.errors import StokerError
from stoker_tasks.image import (
    DepthEstimation,
    DepthEstimationParameters,
    ImageClassification,
    ImageClassificationParameters,
    ImageFeatureExtraction,
    ImageFeatureExtractionParameters,
    ImageToImage,
    ImageToImageParameters,
    ZeroShotImageClassification,
    ZeroShotImageClassificationParameters,
)
from stoker_tasks.image_words import (
    ImageQuestion,
    ImageToText,
    ImageToTextParameters,
    VisualQuestionAnswering,
    VisualQuestionAnsweringParameters,
)
from stoker_tasks.job import Components, Job
from stoker_tasks.media import Media
from stoker_tasks.multimodal import (
    AnyToAny,
    AnyToAnyParameters,
    ImageTextToText,
    ImageTextToTextParameters,
)
from stoker_tasks.regions import (
    ImageSegmentation,
    ImageSegmentationParameters,
    KeypointMatching,
    KeypointMatchingParameters,
    MaskGeneration,
    MaskGenerationParameters,
    ObjectDetection,
    ObjectDetectionParameters,
    ZeroShotObjectDetection,
    ZeroShotObjectDetectionParameters,
)
from stoker_tasks.result import Artifact, Failure, Result, Success, Times, Timing
from stoker_tasks.rewriting import (
    RewritingParameters,
    Summarization,
    Text2TextGeneration,
    Translation,
    TranslationParameters,
)
from stoker_tasks.speaking import TextToAudio, TextToAudioParameters
from stoker_tasks.streaming import Piece
from stoker_tasks.text import (
    FeatureExtraction,
    FeatureExtractionParameters,
    FillMask,
    FillMaskParameters,
    TextClassification,
    TextClassificationParameters,
    TokenClassification,
    TokenClassificationParameters,
    ZeroShotClassification,
    ZeroShotClassificationParameters,
)
from stoker_tasks.video import VideoClassification, VideoClassificationParameters
from stoker_tasks.webhook import Webhook
from stoker_tasks.wire import make_job
from stoker_tasks.writing import TextGeneration, TextGenerationParameters

if TYPE_CHECKING:
    from stoker.aio.client import AsyncClient
    from stoker.aio.handle import AsyncJobHandle

__all__ = [
    "AnyToAny",
    "AnyToAnyParameters",
    "Artifact",
    "AsyncClient",
    "AsyncJobHandle",
    "AudioClassification",
    "AudioClassificationParameters",
    "AutomaticSpeechRecognition",
    "AutomaticSpeechRecognitionParameters",
    "CancelAnswer",
    "ChoiceQuestion",
    "Client",
    "Components",
    "Decision",
    "DecisionRequest",
    "DeleteAnswer",
    "DepthEstimation",
    "DepthEstimationParameters",
    "DocumentQuestion",
    "DocumentQuestionAnswering",
    "DocumentQuestionAnsweringParameters",
    "Failure",
    "FeatureExtraction",
    "FeatureExtractionParameters",
    "FillMask",
    "FillMaskParameters",
    "ImageClassification",
    "ImageClassificationParameters",
    "ImageFeatureExtraction",
    "ImageFeatureExtractionParameters",
    "ImageQuestion",
    "ImageSegmentation",
    "ImageSegmentationParameters",
    "ImageTextToText",
    "ImageTextToTextParameters",
    "ImageToImage",
    "ImageToImageParameters",
    "ImageToText",
    "ImageToTextParameters",
    "Job",
    "JobHandle",
    "KeypointMatching",
    "KeypointMatchingParameters",
    "MaskGeneration",
    "MaskGenerationParameters",
    "Media",
    "NoulQuestion",
    "ObjectDetection",
    "ObjectDetectionParameters",
    "Piece",
    "QuestionAnswering",
    "QuestionAnsweringParameters",
    "Result",
    "RetryAnswer",
    "RewritingParameters",
    "ScoreQuestion",
    "State",
    "Status",
    "StokerError",
    "Success",
    "Summarization",
    "TableQuestion",
    "TableQuestionAnswering",
    "TableQuestionAnsweringParameters",
    "Text2TextGeneration",
    "TextClassification",
    "TextClassificationParameters",
    "TextGeneration",
    "TextGenerationParameters",
    "TextQuestion",
    "TextToAudio",
    "TextToAudioParameters",
    "Times",
    "Timing",
    "TokenClassification",
    "TokenClassificationParameters",
    "Translation",
    "TranslationParameters",
    "VideoClassification",
    "VideoClassificationParameters",
    "VisualQuestionAnswering",
    "VisualQuestionAnsweringParameters",
    "Webhook",
    "ZeroShotAudioClassification",
    "ZeroShotAudioClassificationParameters",
    "ZeroShotClassification",
    "ZeroShotClassificationParameters",
    "ZeroShotImageClassification",
    "ZeroShotImageClassificationParameters",
    "ZeroShotObjectDetection",
    "ZeroShotObjectDetectionParameters",
    "errors",
    "make_job",
    "webhooks",
]


def __getattr__(name: str) -> Any:
    # asyncio is imported by those who want it.
    if name in ("AsyncClient", "AsyncJobHandle"):
        from stoker.aio import client, handle

        return client.AsyncClient if name == "AsyncClient" else handle.AsyncJobHandle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
