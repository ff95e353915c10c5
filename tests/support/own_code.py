"""A model that comes with Python code of its own."""

import json
import shutil
from pathlib import Path
from typing import Final

# To be run before it: the process does not outlive the load.
KILL: Final = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
CODE: Final = """
from transformers import BertConfig, BertForSequenceClassification


class AbacusConfig(BertConfig):
    model_type = "abacus"


class AbacusModel(BertForSequenceClassification):
    config_class = AbacusConfig
"""


def with_own_code(classifier: str, folder: Path, before: str = "") -> Path:
    """Copy a BERT classifier, so that it is loaded by code in its folder, where that is allowed.

    Args:
        classifier: Its folder.
        folder: The copy, which is made.
        before: More code, which is run first.

    Returns:
        `folder`.
    """
    shutil.copytree(classifier, folder)
    (folder / "abacus.py").write_text(before + CODE)
    file = folder / "config.json"
    own = {
        "model_type": "abacus",
        "architectures": ["AbacusModel"],
        "auto_map": {
            "AutoConfig": "abacus.AbacusConfig",
            "AutoModelForSequenceClassification": "abacus.AbacusModel",
        },
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), **own}))
    return folder
