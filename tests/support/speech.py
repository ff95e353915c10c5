"""Speech from espeak-ng, with the moment at which it began each word."""

import ctypes
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stoker.local.packages import Package, fetch
from stoker.local.stop import Stop

# The library with its voices; nothing of the package is imported.
ESPEAK: Final = Package(
    name="espeakng-loader",
    version="0.2.4",
    file="espeakng_loader/libespeak-ng.so",
    sha256="b15ce0803b26254e8a0d088c6b9281a2637b2b02613147cc320cfdefaf2c3ccf",
)

# Of espeak-ng/speak_lib.h.
_SYNCHRONOUS: Final = 2
_UTF8: Final = 1
_BY_CHARACTER: Final = 1
_RATE: Final = 1
_END: Final = 0
_WORD: Final = 1


@dataclass(frozen=True)
class Speech:
    """A spoken text.

    Attributes:
        text: What was said.
        sound: A WAV file.
        starts: Seconds at which each word began.
    """

    text: str
    sound: bytes
    starts: Sequence[float]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class Speaker:
    """espeak-ng with an American voice.

    Args:
        cache: Where packages are kept.
        words_a_minute: How fast it speaks.

    Raises:
        FetchFailed: The library could not be fetched, or not for this kind of machine.
    """

    def __init__(self, cache: Path, words_a_minute: int = 140) -> None:
        library = fetch(ESPEAK, cache, pause=Stop().pause)
        self._library: Any = ctypes.CDLL(str(library))
        voices = str(library.with_name("espeak-ng-data")).encode()
        self._hertz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, voices, 0)
        self._callback = _Callback(self._hear)
        self._library.espeak_SetSynthCallback(self._callback)
        assert self._hertz > 0
        assert self._library.espeak_SetVoiceByName(b"en-us") == 0
        assert self._library.espeak_SetParameter(_RATE, words_a_minute, 0) == 0

    def speak(self, text: str) -> Speech:
        """Speak a text."""
        self._samples, self._starts = bytearray(), list[float]()
        raw = text.encode()
        said = self._library.espeak_Synth(raw, len(raw) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        assert said == 0
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self._hertz)
            file.writeframes(bytes(self._samples))
        return Speech(text, buffer.getvalue(), self._starts)

    def _hear(self, samples: int | None, count: int, events: Any) -> int:
        if samples and count:
            self._samples += ctypes.string_at(samples, 2 * count)
        at = 0
        while events[at].type != _END:
            if events[at].type == _WORD:
                self._starts.append(events[at].audio_position / 1000)
            at += 1
        return 0
