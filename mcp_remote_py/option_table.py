"""The bridge's option table: one row per option. Flags, variables, keys of the configuration file, help, did-you-mean,
`--print-config` and docs/reference/options.md are made from it.

A row's name is its key in the file (with `-` for `_`), its flag unless others are given, and, after `MCP_REMOTE_PY_`,
its variable.
"""

from __future__ import annotations

import os
import re
import shlex

from mcp_remote_py.arguments import file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Option
from mcp_remote_py.option_row import PREFIX, row, switch
from mcp_remote_py.sign_in_options import SIGN_IN_OPTIONS

_WINDOWS = os.name == "nt"
CONNECTION, CREDENTIALS, TRUST, NETWORK = "connection", "credentials", "certificates", "network"
FILTERS, LIMITS, OUTPUT, CONFIGURATION = "filters", "limits", "output", "configuration"
ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA")


def _milliseconds_when_large(text: str, where: str) -> float | None:
    """`--timeout` alone: a bare number of 1000 or more is milliseconds, as in `--timeout 100000` of old configs."""
    return float(text) / 1000 if is_old_timeout(text) else options.seconds(text, where)


def is_old_timeout(text: str) -> bool:
    """Whether this is a bare number that can only be meant in milliseconds."""
    return re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text.strip(), re.ASCII) is not None and float(text) >= 1000


def _unquoted(word: str) -> str:
    """On Windows a backslash separates folders, so the splitting is not POSIX's, which leaves the quotes in place."""
    quoted = _WINDOWS and len(word) > 1 and word[0] == word[-1] and word[0] in "'\""
    return word[1:-1] if quoted else word


def command(text: str, where: str) -> tuple[str, ...]:
    """Split a command into words as a shell would, without being one. `~` is expanded in the name of the program."""
    try:
        parts = tuple(_unquoted(word) for word in shlex.split(text, posix=not _WINDOWS))
    except ValueError as error:
        raise ConfigError(f"{where}: the command cannot be split into words ({error}).") from None
    if not parts:
        raise ConfigError(f"{where}: the command is empty.")
    return (os.path.expanduser(parts[0]), *parts[1:])


WAYS = {
    "http-first": "http-first",
    "sse-first": "sse-first",
    "http-only": "http-only",
    "sse-only": "sse-only",
    "ws-only": "ws-only",
    "auto": "http-first",
    # as mcp-proxy spells them
    "sse": "sse-only",
    "streamablehttp": "http-only",
}
"""How `--transport` may be spelt, and what it means."""

OPTIONS: tuple[Option, ...] = (
    Option(
        "url",
        (),
        "the server's endpoint, where no URL is given as an argument",
        CONNECTION,
        variables=("MCP_REMOTE_URL", f"{PREFIX}URL", "MCP_SERVER_URL", "SSE_URL"),
        metavar="URL",
    ),
    row(
        "transport",
        CONNECTION,
        "which wire to speak: http-first (Streamable HTTP, else HTTP+SSE), sse-first, http-only, sse-only, ws-only; "
        "auto is http-first",
        options.one_of(*WAYS),
        "WAY",
    ),
    switch("http_only", CONNECTION, "short for --transport http-only", variables=()),
    switch("sse_only", CONNECTION, "short for --transport sse-only", variables=()),
    switch("ws_only", CONNECTION, "short for --transport ws-only", variables=()),
    row(
        "ws_auth",
        CONNECTION,
        "how a WebSocket server gets the token: in the Authorization header, or as the first message",
        options.one_of("header", "message"),
        "header|message",
    ),
    switch("allow_http", CONNECTION, "allow http:// and ws:// to hosts other than this one (unencrypted)"),
    # --- Credentials
    row(
        "header",
        CREDENTIALS,
        'a header for every request, "Name: value"; ${VAR} is replaced from the environment; may be repeated '
        "(in the variable: one per line)",
        None,
        "HEADER",
        repeats=True,
        secret=True,
    ),
    row(
        "header_file",
        CREDENTIALS,
        "a file with one header per line, which keeps them out of the process list; # begins a comment; it is read "
        "again when it changes",
        None,
        "FILE",
    ),
    row(
        "token",
        CREDENTIALS,
        "a bearer token; as a flag it can be seen in the process list, so the variable is the better place",
        None,
        "TOKEN",
        flags=("--oauth2Bearer",),
        variables=("MCP_AUTH_TOKEN", "API_ACCESS_TOKEN", "MCP_AUTH"),
        secret=True,
    ),
    row("bearer_file", CREDENTIALS, "a file that holds a bearer token; read again when it changes", None, "FILE"),
    row(
        "bearer_command",
        CREDENTIALS,
        "a command that prints a bearer token, run without a shell; it is run again 30 s before the token's exp and "
        "after a 401",
        command,
        "COMMAND",
    ),
    row(
        "bearer_command_timeout",
        CREDENTIALS,
        "how long the command may take (default 30s)",
        options.positive_seconds,
        "TIME",
        default=30.0,
    ),
    row(
        "basic",
        CREDENTIALS,
        f"a user name for HTTP Basic; the password is taken from {PREFIX}BASIC_PASSWORD or the two options below",
        None,
        "USER",
        also=(),
    ),
    row("basic_password_env", CREDENTIALS, "the variable that holds the password of --basic", None, "VAR"),
    row("basic_password_file", CREDENTIALS, "the file that holds the password of --basic", None, "FILE"),
    row("jwt_key_env", CREDENTIALS, "sign a JWT here: the variable that holds the key", None, "VAR"),
    row("jwt_key_file", CREDENTIALS, "sign a JWT here: the file that holds the key (a secret or PEM)", None, "FILE"),
    row(
        "jwt_alg",
        CREDENTIALS,
        f"how the JWT is signed: {', '.join(ALGORITHMS)} (default HS256)",
        options.one_of(*ALGORITHMS),
        "ALG",
        default="HS256",
    ),
    row("jwt_issuer", CREDENTIALS, "the JWT's iss", None, "TEXT"),
    row("jwt_subject", CREDENTIALS, "the JWT's sub", None, "TEXT"),
    row("jwt_audience", CREDENTIALS, "the JWT's aud", None, "TEXT"),
    row(
        "jwt_claim",
        CREDENTIALS,
        "one more claim of the JWT; a value that is JSON is taken as such; may be repeated (in the variable: one per "
        "line)",
        None,
        "NAME=VALUE",
        repeats=True,
    ),
    row(
        "jwt_ttl",
        CREDENTIALS,
        "how long a JWT is valid; another is signed before it expires (default 5m)",
        options.positive_seconds,
        "TIME",
        default=300.0,
    ),
    row("jwt_kid", CREDENTIALS, "the key's id, in the JWT's head", None, "TEXT"),
    *SIGN_IN_OPTIONS,
    # --- Certificates
    row(
        "ca_bundle",
        TRUST,
        "certificates (PEM or DER) to trust besides the operating system's; may be repeated. SSL_CERT_FILE, "
        "SSL_CERT_DIR, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and NODE_EXTRA_CA_CERTS add theirs",
        None,
        "FILE",
        default=(),
        repeats=True,
    ),
    row("client_cert", TRUST, "our own certificate (PEM, or PKCS#12 with its key) for mutual TLS", None, "FILE"),
    row("client_key", TRUST, "the key of --client-cert, where it is not in the same file", None, "FILE"),
    row(
        "client_key_password_env",
        TRUST,
        "the variable that holds the password of the key or of the PKCS#12 file",
        None,
        "VAR",
    ),
    row(
        "insecure",
        TRUST,
        "do not verify the certificate of this one host (dangerous: anyone on the way can read everything); may be "
        "repeated",
        None,
        "HOST",
        default=(),
        repeats=True,
    ),
    # --- Network
    row(
        "proxy",
        NETWORK,
        "system (default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, else the operating system's settings), "
        "none, or the proxy's URL",
        None,
        "URL|none|system",
        secret=True,
    ),
    switch("enable_proxy", NETWORK, "as in mcp-remote; proxies are used anyway"),
    row(
        "allow_redirect_to",
        NETWORK,
        "another origin (https://host) that a redirect may lead to, without any credential; may be repeated",
        options.origin,
        "ORIGIN",
        default=(),
        repeats=True,
    ),
    switch("no_cookies", NETWORK, "send no cookies back", flags=("--no-cookies", "--disable-cookies")),
    row(
        "http_library",
        NETWORK,
        "what carries HTTP: h11 (default), or httpx, should you ever meet a defect of the first",
        options.one_of("h11", "httpx"),
        "h11|httpx",
        default="h11",
    ),
    switch("ipv4", NETWORK, "use IPv4 alone"),
    # --- Filters
    *(
        row(
            f"{verb}_{what}",
            FILTERS,
            f"{text} {what}s of this name{also}; * stands for any characters; may be repeated (in the variable: one "
            "per line)",
            options.pattern,
            "GLOB",
            default=(),
            repeats=True,
        )
        for what, also in (("tool", ""), ("prompt", ""), ("resource", " or URI"))
        for verb, text in (("ignore", "hide"), ("only", "show nothing but the"))
    ),
    switch("read_only", FILTERS, "show nothing but the tools that the server says only read (readOnlyHint)"),
    row(
        "normalize_names",
        FILTERS,
        "show tools and prompts under other names: snake (get_user for getUser and get-user), host-safe (letters, "
        "digits, _ and -, 64 at most), off (default)",
        options.one_of("off", "snake", "host-safe"),
        "off|snake|host-safe",
        default="off",
    ),
    row(
        "pin_tools",
        FILTERS,
        "remember the definitions of tools, and warn when one changes, or refuse it; off (default)",
        options.one_of("off", "warn", "refuse"),
        "off|warn|refuse",
        default="off",
    ),
    # --- Limits
    row(
        "connect_timeout",
        LIMITS,
        "how long connecting may take (default 10s; 0 switches it off)",
        options.seconds,
        "TIME",
        default=10.0,
    ),
    row(
        "first_byte_timeout",
        LIMITS,
        "how long the server may take to begin an answer (default: no limit)",
        options.seconds,
        "TIME",
        flags=("--first-byte-timeout", "--headers-timeout"),
    ),
    row(
        "idle_timeout",
        LIMITS,
        "how long an answer that has begun may be silent; progress counts as a sign of life (default: no limit)",
        options.seconds,
        "TIME",
        flags=("--idle-timeout", "--body-timeout"),
    ),
    row(
        "timeout",
        LIMITS,
        "how long one request may take in all (default: no limit); a bare number of 1000 or more is milliseconds",
        _milliseconds_when_large,
        "TIME",
        also=("MCP_TOOL_CALL_TIMEOUT",),
    ),
    row(
        "tool_timeout",
        LIMITS,
        "how long a call of this tool may take in all, whatever --timeout says; may be repeated (in the variable: one "
        "per line)",
        options.named_seconds,
        "NAME=TIME",
        default=(),
        repeats=True,
    ),
    row(
        "dead_peer_timeout",
        LIMITS,
        "how long the other end of a connection may acknowledge nothing before it counts as dead (default 60s)",
        options.seconds,
        "TIME",
        default=60.0,
    ),
    row(
        "reuse_idle",
        LIMITS,
        "a call that must not be sent twice goes only on a connection that was idle for less than this, else on a new "
        "one (default 2s; 0: always on a new one)",
        options.seconds,
        "TIME",
        default=2.0,
    ),
    row(
        "hold",
        LIMITS,
        "how long a call is held while the server is away or asks to be left alone, and sent again where that cannot "
        "do harm (default 20s; 0: errors at once)",
        options.seconds,
        "TIME",
        default=20.0,
    ),
    row(
        "greet_after",
        LIMITS,
        "how long the server may be silent before the host's initialize is answered in its place (default 20s; 0: "
        "never in its place, whatever the trouble)",
        options.seconds,
        "TIME",
        default=20.0,
    ),
    switch("keep_alive", LIMITS, "ping the server every 30 s while nothing else is said"),
    row("ping_interval", LIMITS, "as --keep-alive, this often", options.seconds, "TIME"),
    row(
        "drain",
        LIMITS,
        "how long running requests may go on after the end of input (default 1s)",
        options.seconds,
        "TIME",
        default=1.0,
    ),
    row(
        "max_message_size",
        LIMITS,
        "the largest message carried, either way (default 64MiB)",
        options.size,
        "SIZE",
        default=64 * 1024 * 1024,
    ),
    row(
        "max_in_flight",
        LIMITS,
        "how many requests may wait for their answers at once (default 1000)",
        options.count,
        "N",
        default=1000,
    ),
    row(
        "max_header_size",
        LIMITS,
        "the largest head of an HTTP answer (default 256KiB)",
        options.size,
        "SIZE",
        default=256 * 1024,
    ),
    row(
        "max_depth",
        LIMITS,
        "how deeply the JSON of a message may be nested, 1 to 800 levels (default 512)",
        options.depth,
        "N",
        default=512,
    ),
    switch(
        "heartbeat",
        LIMITS,
        "tell the host every 10 s that a call is still running, where it gave the call a progress token",
    ),
    row("heartbeat_interval", LIMITS, "as --heartbeat, this often", options.positive_seconds, "TIME"),
    row(
        "host_timeout",
        LIMITS,
        "answer a tool call after this time with a handle, before the host gives it up, and offer the tool "
        "collect_result for the late result (default: off)",
        options.seconds,
        "TIME",
    ),
    row(
        "keep_results",
        LIMITS,
        "how long a result can be collected (default 30m)",
        options.positive_seconds,
        "TIME",
        default=1800.0,
    ),
    row(
        "max_result_size",
        LIMITS,
        "shorten the text of results that are larger than this, and say so in them (default: off)",
        options.size,
        "SIZE",
    ),
    # --- Output
    row(
        "log_level",
        OUTPUT,
        "how much to say on stderr: debug, info (default), warning, error",
        options.log_level,
        "LEVEL",
        default="info",
        flags=("--log-level", "--logLevel"),
    ),
    switch("debug", OUTPUT, "short for --log-level debug"),
    switch("silent", OUTPUT, "say nothing on stderr but errors"),
    row(
        "log_file",
        OUTPUT,
        "write the log to this file, too; rotated at 10 MiB, three old ones are kept",
        None,
        "FILE",
    ),
    row(
        "log_format",
        OUTPUT,
        "text (default) or json, one object per line",
        options.one_of("text", "json"),
        "text|json",
        default="text",
    ),
    switch(
        "log_bodies",
        OUTPUT,
        "write the messages themselves to the log, whatever its level, up to 64 KiB of each; known secrets are masked",
    ),
    row(
        "trace",
        OUTPUT,
        "write all messages to this file as JSON lines, known secrets masked; rotated at 10 MiB, three old ones are "
        "kept; `mcp-remote-py replay FILE` plays it back",
        None,
        "FILE",
    ),
    # --- Configuration
    row(
        "home",
        CONFIGURATION,
        "the folder for what is remembered from one run to the next (default: the operating system's place for that)",
        file_name,
        "FOLDER",
    ),
    switch("no_cache", CONFIGURATION, "do not remember what the server says, nor answer from what it said last time"),
    row("config", CONFIGURATION, "a TOML file with the same options as keys", None, "FILE"),
    row("profile", CONFIGURATION, "which [profiles.NAME] of the file to use", None, "NAME"),
    switch("print_config", CONFIGURATION, "print every value and where it came from, and end", variables=()),
)
