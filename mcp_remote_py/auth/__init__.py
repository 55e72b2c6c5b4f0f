"""Auth: the I/O of signing in. Performs the steps of `core.oauth`; decides nothing about trust or protocol.

Imported when a server asks for a sign-in, or when there may be tokens from an earlier one; never before.
"""
