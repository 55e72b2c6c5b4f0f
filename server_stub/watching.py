"""Watching: tells when one of the files of a configuration changes. Knows files, nothing of what is in them.

Folders are watched, not files: editors and orchestrators replace a file by renaming another one over it, or a symbolic
link to its folder (Kubernetes), and a watch on the file itself would stay with the old one. Where the system tells
nothing (a folder that was replaced or was not there yet, a link further up, a file system of the network), a look at
the files every two seconds finds it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds."""

Look = tuple[object, ...]


async def changes(files: Callable[[], Sequence[str]], every: float = LOOK_EVERY) -> AsyncIterator[None]:
    """Yield whenever one of the files may have changed. `files` is asked again after each time.

    Without the library nothing is ever yielded, and the log says so once.
    """
    try:
        import watchfiles
    except ImportError:
        logger.warning("changes of the file are not noticed, as watchfiles is not installed; send SIGHUP instead")
        return
    before: Look = ()  # it may have been written between the first reading and now
    while True:
        async for told in _told(watchfiles, files, every):
            names = _paths(files())
            now = _look(names)
            # who writes twice within one tick of the clock is told of, although the second time shows nowhere
            if now != before or not _with_targets(names).isdisjoint(told):
                before = now
                yield


async def _told(watchfiles: Any, files: Callable[[], Sequence[str]], every: float) -> AsyncIterator[set[str]]:
    """Yield the paths that the system tells of, and nothing every now and then. Ends when other folders are meant."""
    folders = _folders(files())
    identity = _identity(folders)
    try:
        if folders:
            watch = watchfiles.awatch(
                *folders, recursive=False, debounce=200, step=50, watch_filter=None,
                rust_timeout=int(every * 1000), yield_on_timeout=True,
            )  # fmt: skip
            async with contextlib.aclosing(watch):
                async for told in watch:
                    yield _paths(path for _, path in told)
                    if _folders(files()) != folders or _identity(folders) != identity:
                        return
            return
    except (OSError, RuntimeError) as error:  # it has no more watches to give, or a folder went this very moment
        logger.debug("the system does not tell of changes in the folder of the file: %s", type(error).__name__)
    await asyncio.sleep(every)
    yield set()


def _paths(files: Iterable[str]) -> set[str]:
    return {os.path.abspath(file) for file in files}


def _with_targets(names: set[str]) -> set[str]:
    """Return these paths, and where links among them lead: that is what the system calls them."""
    return names | {os.path.realpath(name) for name in names}


def _look(files: Iterable[str]) -> Look:
    """Return what shows that a file is another one: which it is, and when it was written."""
    return tuple(_shown(file) for file in sorted(_paths(files)))


def _shown(file: str) -> Look:
    try:
        found = os.stat(file)
    except OSError:
        return (file,)
    return (file, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)


def _identity(folders: Sequence[str]) -> Look:
    return tuple(_shown(folder)[:3] for folder in folders)


def _folders(files: Sequence[str]) -> list[str]:
    found = {os.path.dirname(os.path.abspath(file)) for file in files}
    found |= {os.path.dirname(os.path.realpath(file)) for file in files if os.path.islink(file)}
    return sorted(folder for folder in found if os.path.isdir(folder))
