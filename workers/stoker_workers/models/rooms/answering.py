"""The rooms of the tasks that answer questions about a text, a table or a document."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.answers import AnswerFinder
from stoker_workers.models.adapters.documents import document_adapter
from stoker_workers.models.adapters.tables import TableReader
from stoker_workers.models.loading import Recipe
from stoker_workers.models.pipelines.question_answering import QuestionAnsweringPipeline
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "question-answering": Room(
        Recipe(QuestionAnsweringPipeline, (transformers.AutoModelForQuestionAnswering,)),
        AnswerFinder,
    ),
    "table-question-answering": Room(
        Recipe(
            transformers.TableQuestionAnsweringPipeline,
            (transformers.AutoModelForTableQuestionAnswering,),
        ),
        TableReader,
    ),
    "document-question-answering": Room(
        Recipe(
            transformers.DocumentQuestionAnsweringPipeline,
            (
                transformers.AutoModelForDocumentQuestionAnswering,
                transformers.AutoModelForImageTextToText,
            ),
            optional=("image_processor",),
            refused={
                "layoutlmv2": "it looks at a page by means of detectron2, which workers do not "
                "have: give a LayoutLM or LayoutLMv3 model"
            },
        ),
        document_adapter,
    ),
}
