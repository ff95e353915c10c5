"""The pipeline that makes an image of an image, such as a larger one."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Pipeline


class ImageToImagePipeline(Pipeline):
    """image-to-image."""

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(
        self, **_: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, {}

    def preprocess(self, image: Image.Image) -> Any:
        """Turn an image into the model's inputs."""
        return self.image_processor(images=[image], return_tensors="pt").to(self.dtype)

    def _forward(self, inputs: Any) -> Any:
        return self.model(**inputs)

    def postprocess(self, outputs: Any) -> Image.Image:
        """Turn the model's colours, from 0 to 1, into an image."""
        colours: torch.Tensor = outputs["reconstruction"][0]
        pixels = np.moveaxis(colours.float().cpu().clamp(0, 1).numpy(), 0, -1)
        return Image.fromarray((pixels * 255.0).round().astype(np.uint8))
