"""The rooms of the tasks whose caller has an image in hand."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.image import (
    DepthEstimator,
    ImageClassifier,
    ImageEnhancer,
    ImageFeatureExtractor,
    ZeroShotImageClassifier,
)
from stoker_workers.models.adapters.masks import MaskGenerator
from stoker_workers.models.adapters.regions import (
    KeypointMatcher,
    ObjectDetector,
    Segmenter,
    zero_shot_detector,
)
from stoker_workers.models.loading import Recipe
from stoker_workers.models.pipelines.image_to_image import ImageToImagePipeline
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "image-classification": Room(
        Recipe(
            transformers.ImageClassificationPipeline,
            (transformers.AutoModelForImageClassification,),
        ),
        ImageClassifier,
    ),
    "zero-shot-image-classification": Room(
        Recipe(
            transformers.ZeroShotImageClassificationPipeline,
            (transformers.AutoModelForZeroShotImageClassification,),
        ),
        ZeroShotImageClassifier,
    ),
    "image-feature-extraction": Room(
        Recipe(
            transformers.ImageFeatureExtractionPipeline, (transformers.AutoModel,), headless=True
        ),
        ImageFeatureExtractor,
    ),
    "depth-estimation": Room(
        Recipe(transformers.DepthEstimationPipeline, (transformers.AutoModelForDepthEstimation,)),
        DepthEstimator,
    ),
    "image-to-image": Room(
        Recipe(ImageToImagePipeline, (transformers.AutoModelForImageToImage,)), ImageEnhancer
    ),
    "object-detection": Room(
        Recipe(transformers.ObjectDetectionPipeline, (transformers.AutoModelForObjectDetection,)),
        ObjectDetector,
    ),
    "zero-shot-object-detection": Room(
        Recipe(
            transformers.ZeroShotObjectDetectionPipeline,
            (transformers.AutoModelForZeroShotObjectDetection,),
        ),
        zero_shot_detector,
    ),
    "image-segmentation": Room(
        Recipe(
            transformers.ImageSegmentationPipeline,
            (
                transformers.AutoModelForImageSegmentation,
                transformers.AutoModelForSemanticSegmentation,
                transformers.AutoModelForInstanceSegmentation,
                transformers.AutoModelForUniversalSegmentation,
            ),
            # OneFormer reads in words which kind of segmentation it is to do.
            optional=("tokenizer",),
            # Its processor would fetch the names of classes from another repository, of no fixed
            # commit, and the pipeline reads them from the model's configuration.
            settings={"image_processor": {"class_info_file": ""}},
        ),
        Segmenter,
    ),
    "mask-generation": Room(
        Recipe(transformers.MaskGenerationPipeline, (transformers.AutoModelForMaskGeneration,)),
        MaskGenerator,
    ),
    "keypoint-matching": Room(
        Recipe(transformers.KeypointMatchingPipeline, (transformers.AutoModelForKeypointMatching,)),
        KeypointMatcher,
    ),
}
