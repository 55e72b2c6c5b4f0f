"""The pure ring: every decision of the protocol, and not one await, socket, file, clock or random number.

Imports: a short list of the standard library and this package (`tests/test_architecture.py` has the list).
Time and chance come in as arguments. Shared with `server_stub`.
"""
