"""TLS in memory: a client's context and a server's context talk, without a socket."""

from __future__ import annotations

import ssl


def shake(client: ssl.SSLContext, server: ssl.SSLContext, host: str = "mcp.example.com") -> ssl.SSLObject:
    """Shake hands, and let the client send and the server read. Returns the server's side.

    Raises the client's `SSLError` where it refuses, also where the server tells it by an alert.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    refused: ssl.SSLError | None = None
    for _ in range(4):
        try:
            ours.do_handshake()
        except ssl.SSLWantReadError:
            pass
        try:
            theirs.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            refused = error  # the client shall hear of it by the alert
    try:
        ours.read(1)  # with TLS 1.3 the server looks at our certificate after our handshake is over
    except ssl.SSLWantReadError:
        pass
    assert refused is None, "the server refused without telling the client"
    return theirs
