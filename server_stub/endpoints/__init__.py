"""The wires: aiohttp types in, core types out. What may pass is decided in `core/admission`, what goes where in
`core/outbox`; here it is only translated."""
