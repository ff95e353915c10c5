"""The secrets that sign webhooks: by name, from a setting and from a file that may change."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stoker_config.settings import Settings
from stoker_tasks.signature import key_of, new_secret

DEFAULT = "default"


class SecretsError(ValueError):
    """The secrets of webhooks cannot be read or changed; the message quotes none of them."""


class Secrets:
    """The secrets of one deployment. A name may have several: each of them signs.

    Args:
        settings: They name the file, and hold the secrets of the name `default`.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.webhook_secrets
        self._default = settings.webhook_secret.get_secret_value().replace(",", " ").split()
        self._read: tuple[object, dict[str, list[str]]] = (None, {})

    def keys(self, name: str) -> list[bytes]:
        """Give the decoded secrets of a name, the newest first; none if it has none.

        Raises:
            SecretsError: The file or the setting is not what it should be.
        """
        try:
            return [key_of(secret) for secret in self.all().get(name, ())]
        except ValueError as error:
            raise SecretsError(f"{name}: {error}") from None

    def all(self) -> Mapping[str, Sequence[str]]:
        """Give all secrets by name; the file is read again when it has changed.

        Raises:
            SecretsError: The file cannot be read.
        """
        found = {name: list(each) for name, each in self._from_file().items()}
        if self._default:
            found[DEFAULT] = list(dict.fromkeys([*self._default, *found.get(DEFAULT, ())]))
        return found

    def add(self, name: str) -> str:
        """Mint a secret for a name and put it into the file, before those that it has.

        Raises:
            SecretsError: No file is set, or it cannot be read or written.
        """
        secret = new_secret()
        found = self._from_file()
        self._write({**found, name: [secret, *found.get(name, ())]})
        return secret

    def retire(self, name: str) -> int:
        """Take all secrets of a name out of the file but the newest.

        Returns:
            How many there were.

        Raises:
            SecretsError: No file is set, or it cannot be read or written.
        """
        found = self._from_file()
        old = found.get(name, [])[1:]
        if old:
            self._write({**found, name: found[name][:1]})
        return len(old)

    def _from_file(self) -> dict[str, list[str]]:
        if self._file is None:
            return {}
        try:
            stat = self._file.stat()
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read[0] != version:
                self._read = (version, _parse(self._file.read_bytes(), self._file))
        except FileNotFoundError:
            self._read = (None, {})
        except OSError as error:
            raise SecretsError(f"{self._file}: {error.strerror}") from None
        return self._read[1]

    def _write(self, secrets: Mapping[str, Sequence[str]]) -> None:
        if self._file is None:
            raise SecretsError(
                "no file holds the secrets of webhooks: name one in STOKER_WEBHOOK_SECRETS, for "
                "this command and for the courier"
            )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Readable by its owner alone; a courier reads all of it or none.
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=f".{self._file.name}-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(secrets, file, indent=2)
            Path(name).replace(self._file)
        except OSError as error:
            raise SecretsError(f"{self._file}: {error.strerror}") from None


def _parse(text: bytes, file: Path) -> dict[str, list[str]]:
    wrong = SecretsError(
        f"{file}: this is no file of secrets, which is JSON: "
        '{"NAME": ["whsec_…", …], …}, the newest secret first'
    )
    try:
        found: Any = json.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(found, dict):
        raise wrong
    secrets = {str(name): [each] if isinstance(each, str) else each for name, each in found.items()}
    if not all(
        isinstance(each, list) and all(isinstance(one, str) for one in each)
        for each in secrets.values()
    ):
        raise wrong
    return secrets
