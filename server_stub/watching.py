"""Watching: tells when one of the files of a configuration changes. Knows files, nothing of what is in them.

Folders are watched, not files: editors and orchestrators replace a file by renaming another one over it, or a symbolic
link to its folder (Kubernetes), and a watch on the file itself would stay with the old one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence

logger = logging.getLogger(__name__)


async def changes(files: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
    """Yield whenever one of the files may have changed. `files` is asked again after each time.

    Without the library nothing is ever yielded, and the log says so once.
    """
    try:
        import watchfiles
    except ImportError:
        logger.warning("changes of the file are not noticed, as watchfiles is not installed; send SIGHUP instead")
        return
    while True:
        before = tuple(files())
        folders = _folders(before)
        if not folders:
            return
        async for _ in watchfiles.awatch(*folders, recursive=False, debounce=200, step=50):
            yield
            if tuple(files()) != before:
                break  # other folders, perhaps


def _folders(files: Sequence[str]) -> list[str]:
    found = {os.path.dirname(os.path.abspath(file)) for file in files}
    found |= {os.path.dirname(os.path.realpath(file)) for file in files if os.path.islink(file)}
    return sorted(folder for folder in found if os.path.isdir(folder))
