"""A real nginx, running with a file that `mcp-remote-server deploy nginx` wrote, in the foreground and without root."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.peers.programs import running

_MAIN = """\
daemon off;
pid {folder}/pid;
error_log stderr warn;
{user}worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {file};
}}
"""


def system_program(name: str) -> str:
    """Return where a program of the system is. Where `CI=true`, it has to be there."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing, and CI needs it")
        pytest.skip(f"{name} is not installed")
    return found


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row on which nothing listens.

    They are below those that the system gives to connections, so that none of these takes one before it is bound.
    """
    for _ in range(50):
        first = random.randrange(10_000, 32_000)  # noqa: S311  not for secrets
        sockets = [socket.socket() for _ in range(count)]
        try:
            for at, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + at))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise AssertionError("there are no ports in a row")


def command_of(folder: Path, file: Path) -> list[str]:
    """Return the command that runs nginx with this file in its http block. Keeps what it needs in the folder."""
    main = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    main.write_text(_MAIN.format(folder=folder, file=file, user=user))
    return [system_program("nginx"), "-p", str(folder), "-c", str(main), "-e", "stderr"]


def checked(folder: Path, file: Path) -> str:
    """Run `nginx -t` on the file; fails unless nginx accepts it. Returns what nginx says."""
    done = subprocess.run([*command_of(folder, file), "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@asynccontextmanager
async def nginx(folder: Path, file: Path, port: int) -> AsyncIterator[None]:
    """Run nginx with this file until the block is left; it listens on this port, among others."""
    async with running(command_of(folder, file)) as child:
        async with asyncio.timeout(20):
            while True:
                assert child.process.returncode is None, "\n".join(child.log)
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
        yield
