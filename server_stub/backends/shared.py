"""One child for all clients of a principal that have no session: what `--stateless` asks for, without a configuration.

    async with shared_connect(lambda: ProcessLink(spec)) as connect:
        await app.run(settings, connect)

A child starts with the first request and stops when nobody has asked anything for ten minutes. When it dies, the open
requests get the fault and the next request starts another one; `backends/supervised` says how often.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server_stub.backends import Connect
from server_stub.backends.place import MakeLink
from server_stub.backends.supervised import Supervised
from server_stub.core.roster import Manners


@asynccontextmanager
async def shared_connect(make_link: MakeLink, name: str = "the server") -> AsyncIterator[Connect]:
    """Yield a `Connect` that gives peers without a session a face of their principal's shared link.

    Peers with a session get a fresh link each. Leaving the block stops the children. There is no operator and no
    reload here, so too many failed starts are forgotten with time.
    """
    async with Supervised(name, make_link, Manners(), passes=True) as supervised:
        yield supervised.connect
