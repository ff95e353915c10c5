"""A folder that a conversion makes: it appears whole or not at all, and is made once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def make_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder, unless it is there already.

    Args:
        folder: Its name. Whoever finds it there may read it.
        fill: Writes its files into a folder that has another name until all of them are there.

    Returns:
        `folder`.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fill(making)
        # A worker may run as another user than the one who converts.
        making.chmod(0o755)
        for file in making.iterdir():
            file.chmod(0o644)
        os.rename(making, folder)
    except OSError:
        # Another process was faster.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder
