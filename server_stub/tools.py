"""ToolServer: an MCP server made of decorated Python functions. It is itself a handler, to be passed to `serve()`.

    server = ToolServer("weather", "1.0")

    @server.tool
    def forecast(city: str, days: int = 3) -> str:
        "Say what the weather in a city will be."
        return f"{city}: rain for {days} days"

It answers the server's methods of the revisions 2024-11-05 to 2025-11-25 and nothing else; what carries them is not
its business. (MCP 2025-11-25: lifecycle; tools, resources, prompts; logging, completion.)
"""

from __future__ import annotations

import inspect
import logging
import re
import typing
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple, TypeVar, overload
from weakref import WeakKeyDictionary

from mcp_remote_py.core import versions
from server_stub.backends.handler import LEVELS, RpcError, Session, Threads, is_async
from server_stub.calls import Call
from server_stub.content import error_result, prompt_result, resource_contents, tool_result
from server_stub.parameters import Parameters, Unfit

INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
RESOURCE_NOT_FOUND = -32002

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


class _Client:
    """What a session has told about its client."""

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] = {}
        self.subscriptions: set[str] = set()


class _Entry(NamedTuple):
    """A decorated function, and how it stands in a list."""

    listed: dict[str, Any]
    function: Callable[..., Any]
    parameters: Parameters
    pattern: re.Pattern[str] | None = None


def _own(name: str, annotation: Any) -> str | None:
    """Which parameters are filled by us: those annotated `Session` or `Call`, and a bare `session` or `call`."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if annotation is Session or (name == "session" and annotation is inspect.Parameter.empty):
        return "session"
    if annotation is Call or (name == "call" and annotation is inspect.Parameter.empty):
        return "call"
    return None


class ToolServer:
    """See the module's text. Register functions before serving; the lists do not change afterwards."""

    def __init__(self, name: str, version: str = "0", instructions: str | None = None) -> None:
        self.name = name
        self.version = version
        self.instructions = instructions
        self._tools: dict[str, _Entry] = {}
        self._resources: dict[str, _Entry] = {}
        self._templates: dict[str, _Entry] = {}
        self._prompts: dict[str, _Entry] = {}
        self._clients: WeakKeyDictionary[Session, _Client] = WeakKeyDictionary()
        self._threads = Threads()
        self._methods: dict[str, Callable[[dict[str, Any], Session], Awaitable[dict[str, Any]]]] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
            "logging/setLevel": self._set_level,
            "completion/complete": self._complete,
        }

    # --- Registering -------------------------------------------------------------------------------------------

    @overload
    def tool(self, function: Function) -> Function: ...

    @overload
    def tool(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: dict[str, Any] | None = None,
    ) -> Callable[[Function], Function]: ...

    def tool(
        self,
        function: Any = None,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: dict[str, Any] | None = None,
    ) -> Any:
        """Make a function a tool; its schema comes from its type hints, its description from its docstring.

        Its return value becomes content (`server_stub.content.tool_result`); an exception becomes a result with
        `isError` and the exception's text. Raises TypeError for types without a schema, ValueError for a name twice.
        """

        def register(decorated: Function) -> Function:
            parameters = Parameters(decorated, _own)
            listed = _listed(decorated, name, title, description)
            listed["inputSchema"] = parameters.schema
            if annotations is not None:
                listed["annotations"] = annotations
            _add(self._tools, listed["name"], _Entry(listed, decorated, parameters))
            return decorated

        return register if function is None else register(function)

    def resource(
        self, uri: str, *, name: str | None = None, description: str | None = None, mime_type: str | None = None
    ) -> Callable[[Function], Function]:
        """Make a function a resource. A URI with `{braces}` is a template: what they match are the arguments.

        `{name}` matches up to the next slash, `{+name}` slashes too.
        """

        def register(decorated: Function) -> Function:
            entry_of = _listed(decorated, name, None, description)
            if mime_type is not None:
                entry_of["mimeType"] = mime_type
            parameters = Parameters(decorated, _own)
            if "{" in uri:
                listed = {"uriTemplate": uri, **entry_of}
                _add(self._templates, uri, _Entry(listed, decorated, parameters, _template(uri, parameters)))
            else:
                _add(self._resources, uri, _Entry({"uri": uri, **entry_of}, decorated, parameters))
            return decorated

        return register

    @overload
    def prompt(self, function: Function) -> Function: ...

    @overload
    def prompt(
        self, *, name: str | None = None, title: str | None = None, description: str | None = None
    ) -> Callable[[Function], Function]: ...

    def prompt(
        self,
        function: Any = None,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
    ) -> Any:
        """Make a function a prompt. It returns a text, or messages (`server_stub.content.prompt_result`)."""

        def register(decorated: Function) -> Function:
            parameters = Parameters(decorated, _own)
            listed = _listed(decorated, name, title, description)
            listed["arguments"] = [_prompt_argument(parameters, one) for one in parameters.asked]
            _add(self._prompts, listed["name"], _Entry(listed, decorated, parameters))
            return decorated

        return register if function is None else register(function)

    async def resource_updated(self, uri: str) -> None:
        """Tell every client that has subscribed to this resource that it changed."""
        for session, client in list(self._clients.items()):
            if uri in client.subscriptions:
                await session.notify("notifications/resources/updated", {"uri": uri})

    # --- Answering ---------------------------------------------------------------------------------------------

    async def __call__(self, message: dict[str, Any], session: Session) -> dict[str, Any] | None:
        """Answer one message: this is the handler."""
        if "id" not in message:
            return None  # initialized, roots/list_changed and their like: nothing here depends on them
        method = self._methods.get(message["method"])
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"the method {message['method']} is not known here")
        params = message.get("params", {})
        if not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object")
        return {"jsonrpc": "2.0", "id": message["id"], "result": await method(params, session)}

    def _client(self, session: Session) -> _Client:
        return self._clients.setdefault(session, _Client())

    async def _initialize(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        capabilities = params.get("capabilities")
        self._client(session).capabilities = capabilities if isinstance(capabilities, dict) else {}
        asked = params.get("protocolVersion")
        known = isinstance(asked, str) and versions.is_known_legacy(asked)
        offered: dict[str, Any] = {"tools": {}, "logging": {}}
        if self._resources or self._templates:
            offered["resources"] = {"subscribe": True}
        if self._prompts:
            offered["prompts"] = {}
        if self._prompts or self._templates:
            offered["completions"] = {}
        result: dict[str, Any] = {
            "protocolVersion": asked if known else versions.LATEST_LEGACY,
            "capabilities": offered,
            "serverInfo": {"name": self.name, "version": self.version},
        }
        if self.instructions is not None:
            result["instructions"] = self.instructions
        return result

    async def _ping(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        del params, session  # every method is called alike
        return {}

    async def _list_tools(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        del session
        return _page(params, "tools", self._tools)

    async def _list_resources(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        del session
        return _page(params, "resources", self._resources)

    async def _list_templates(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        del session
        return _page(params, "resourceTemplates", self._templates)

    async def _list_prompts(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        del session
        return _page(params, "prompts", self._prompts)

    async def _call_tool(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        entry = _find(self._tools, params, "tool")
        arguments = _arguments(entry, params)
        try:
            return tool_result(await self._run(entry, arguments, params, session))
        except RpcError:
            raise
        except Exception as error:  # a tool's own words are for the model
            logger.warning("the tool %s failed", entry.listed["name"], exc_info=True)
            return error_result(str(error) or type(error).__name__)

    async def _read_resource(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        uri = _uri(params)
        entry, arguments = self._resource_of(uri)
        returned = await self._run(entry, arguments, params, session)
        return {"contents": [resource_contents(uri, entry.listed.get("mimeType"), returned)]}

    async def _subscribe(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        uri = _uri(params)
        self._resource_of(uri)
        self._client(session).subscriptions.add(uri)
        return {}

    async def _unsubscribe(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        self._client(session).subscriptions.discard(_uri(params))
        return {}

    async def _get_prompt(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        entry = _find(self._prompts, params, "prompt")
        returned = await self._run(entry, _arguments(entry, params), params, session)
        return prompt_result(returned, entry.listed.get("description"))

    async def _set_level(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        level = params.get("level")
        if level not in LEVELS:
            raise RpcError(INVALID_PARAMS, f"level must be one of {', '.join(LEVELS)}")
        session.log_level = level
        return {}

    async def _complete(self, params: dict[str, Any], session: Session) -> dict[str, Any]:
        """Propose the values of a `Literal` that begin like what is typed; of other types nothing is known."""
        del session
        reference, argument = params.get("ref"), params.get("argument")
        if not isinstance(reference, dict) or not isinstance(argument, dict):
            raise RpcError(INVALID_PARAMS, "ref and argument must be objects")
        entry = self._prompts.get(str(reference.get("name"))) or self._templates.get(str(reference.get("uri")))
        if entry is None:
            raise RpcError(INVALID_PARAMS, "ref names no prompt or resource template of this server")
        parameter = entry.parameters.asked.get(str(argument.get("name")))
        choices = parameter.shape.schema.get("enum", []) if parameter is not None else []
        typed = str(argument.get("value", ""))
        values = [choice for choice in choices if isinstance(choice, str) and choice.startswith(typed)]
        return {"completion": {"values": values[:100], "total": len(values), "hasMore": len(values) > 100}}

    # --- Inside ------------------------------------------------------------------------------------------------

    def _resource_of(self, uri: str) -> tuple[_Entry, dict[str, Any]]:
        if uri in self._resources:
            return self._resources[uri], {}
        for entry in self._templates.values():
            found = entry.pattern.fullmatch(uri) if entry.pattern is not None else None
            if found is not None:
                texts = {name: urllib.parse.unquote(text) for name, text in found.groupdict().items()}
                return entry, _fitting(entry, texts)
        raise RpcError(RESOURCE_NOT_FOUND, "there is no such resource", {"uri": uri})

    async def _run(self, entry: _Entry, arguments: dict[str, Any], params: dict[str, Any], session: Session) -> object:
        """Call a decorated function with what it asked for, in a thread where it is synchronous."""
        for name, what in entry.parameters.injected.items():
            arguments[name] = session if what == "session" else self._call_of(params, session)
        if is_async(entry.function):
            returned: object = entry.function(**arguments)
        else:
            returned = await self._threads.run(entry.function, **arguments)
        return await returned if inspect.isawaitable(returned) else returned

    def _call_of(self, params: dict[str, Any], session: Session) -> Call:
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if isinstance(token, bool) or not isinstance(token, str | int | float):
            token = None
        return Call(session, token, self._client(session).capabilities)


def _listed(
    function: Callable[..., Any], name: str | None, title: str | None, description: str | None
) -> dict[str, Any]:
    """Return the members that every list entry has."""
    plain = name or getattr(function, "__name__", None)
    if not isinstance(plain, str) or plain == "<lambda>":
        raise TypeError("this function has no name: give one with name=")
    listed: dict[str, Any] = {"name": plain}
    if title is not None:
        listed["title"] = title
    text = inspect.getdoc(function) if description is None else description
    if text:
        listed["description"] = text
    return listed


def _add(entries: dict[str, _Entry], name: str, entry: _Entry) -> None:
    if name in entries:
        raise ValueError(f"{name!r} is registered already")
    entries[name] = entry


def _template(uri: str, parameters: Parameters) -> re.Pattern[str]:
    """Return what matches a URI template. Raises TypeError where its names are not those of the parameters."""
    pieces: list[str] = []
    names: set[str] = set()
    for piece in re.split(r"(\{\+?\w+\})", uri):
        if piece.startswith("{") and piece.endswith("}"):
            name = piece.strip("{+}")
            names.add(name)
            pieces.append(f"(?P<{name}>{'.+' if piece[1] == '+' else '[^/]+'})")
        else:
            pieces.append(re.escape(piece))
    missing = {name for name, one in parameters.asked.items() if one.required} - names
    if missing or names - set(parameters.asked):
        raise TypeError(f"the template {uri} and the parameters of its function do not agree")
    return re.compile("".join(pieces))


def _prompt_argument(parameters: Parameters, name: str) -> dict[str, Any]:
    parameter = parameters.asked[name]
    try:
        for text in parameter.shape.schema.get("enum", [""]):
            parameter.shape.read(text, name)
            if not isinstance(text, str):
                raise TypeError(f"the parameter {name}: a prompt's arguments are strings")
    except Unfit:
        raise TypeError(f"the parameter {name}: a prompt's arguments are strings") from None
    listed: dict[str, Any] = {"name": name, "required": parameter.required}
    if "description" in parameter.shape.schema:
        listed["description"] = parameter.shape.schema["description"]
    return listed


def _page(params: dict[str, Any], member: str, entries: dict[str, _Entry]) -> dict[str, Any]:
    """Return a whole list: it is never cut into pages, so no cursor can be ours."""
    if params.get("cursor") is not None:
        raise RpcError(INVALID_PARAMS, "the cursor is not one of this server's")
    return {member: [entry.listed for entry in entries.values()]}


def _find(entries: dict[str, _Entry], params: dict[str, Any], what: str) -> _Entry:
    name = params.get("name")
    if not isinstance(name, str) or name not in entries:
        raise RpcError(INVALID_PARAMS, f"there is no {what} {name!r}")
    return entries[name]


def _uri(params: dict[str, Any]) -> str:
    uri = params.get("uri")
    if not isinstance(uri, str):
        raise RpcError(INVALID_PARAMS, "uri must be a string")
    return uri


def _arguments(entry: _Entry, params: dict[str, Any]) -> dict[str, Any]:
    arguments = params.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "arguments must be an object")
    return _fitting(entry, arguments or {})


def _fitting(entry: _Entry, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return entry.parameters.read(arguments)
    except Unfit as unfit:
        raise RpcError(INVALID_PARAMS, str(unfit), {"argument": unfit.where}) from None
