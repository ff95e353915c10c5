"""Cases of tasks with models that make sounds."""

from tests.parity.cases.case import LONG, MIDDLE, SHORT, Case
from tests.tiny.speaking import VOICE_SIZE

PLAY = {"generate_kwargs": {"do_sample": False, "max_new_tokens": 16}}
# How often SpeechT5 may step depends on the text's length.
SPEAK = {"minlenratio": 0.5, "maxlenratio": 2.0, "threshold": 1.0}


def by(seed: int) -> dict[str, object]:
    """Parameters with a voice."""
    voice = [((seed * 37 + 11 * place) % 17 - 8) / 8 for place in range(VOICE_SIZE)]
    return {"forward_params": {**SPEAK, "speaker_embeddings": voice}}


CASES = (
    Case(
        "text-to-audio-wave",
        "text-to-audio",
        "vits",
        [(SHORT, {}), (LONG, {}), ([MIDDLE, SHORT], {})],
        forwards=4,
    ),
    Case(
        "text-to-audio-tokens",
        "text-to-audio",
        "musicgen",
        [
            (SHORT, PLAY),
            (LONG, {**PLAY, "preprocess_params": {"truncation": True, "max_length": 20}}),
            ([MIDDLE, LONG], PLAY),
        ],
        forwards=1,
    ),
    Case(
        "text-to-audio-spectrogram",
        "text-to-audio",
        "speecht5",
        [
            (SHORT, by(1)),
            (
                "The wood was terrible.",
                by(2),
            ),
            (
                "The bank was terrible.",
                by(3),
            ),
            (MIDDLE, by(4)),
        ],
        forwards=2,
    ),
)
