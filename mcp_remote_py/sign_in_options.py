"""The rows of the option table that are about signing in (OAuth). What they come to: `sign_in_settings`."""

from __future__ import annotations

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.oauth.preferences import AUTH_METHODS, GRANTS
from mcp_remote_py.core.options import Option
from mcp_remote_py.option_row import row, switch

SIGN_IN = "sign-in"
ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")


def _port(text: str, where: str) -> int:
    number = options.count(text, where)
    if number > 65535:
        raise ConfigError(f"{where}: {text!r} is no port: they go up to 65535.")
    return number


SIGN_IN_OPTIONS: tuple[Option, ...] = (
    # --- Who we are
    row("client_id", SIGN_IN, "the client id that was registered for you, so that none is registered", None, "ID"),
    row(
        "client_secret",
        SIGN_IN,
        "its secret; as a flag it can be seen in the process list, so the variable or a file is the better place",
        None,
        "SECRET",
        secret=True,
    ),
    row("client_secret_env", SIGN_IN, "the variable that holds the secret of --client-id", None, "VAR"),
    row("client_secret_file", SIGN_IN, "the file that holds the secret of --client-id", None, "FILE"),
    row(
        "static_oauth_client_info",
        SIGN_IN,
        "as --client-id and --client-secret, in JSON: client_id, client_secret, redirect_uris...; @FILE reads it from "
        "a file, ${VAR} is replaced from the environment",
        None,
        "JSON|@FILE",
        secret=True,
    ),
    row(
        "static_oauth_client_metadata",
        SIGN_IN,
        "what a registration says of this client, in JSON or from @FILE: client_name, scope...",
        None,
        "JSON|@FILE",
        secret=True,
    ),
    row(
        "client_metadata_url",
        SIGN_IN,
        "the https URL of a document that describes this client, where the server takes such a URL as client id",
        None,
        "URL",
    ),
    row(
        "token_auth_method",
        SIGN_IN,
        f"how the client proves itself: {', '.join(AUTH_METHODS)} (default: what the server's metadata suggests)",
        options.one_of(*AUTH_METHODS),
        "METHOD",
    ),
    row("private_key", SIGN_IN, "the private key (PEM) for private_key_jwt", None, "FILE"),
    row(
        "signing_alg",
        SIGN_IN,
        f"how the key signs: {', '.join(ALGORITHMS)} (default: what fits the key)",
        options.one_of(*ALGORITHMS),
        "ALG",
    ),
    # --- How
    row(
        "grant",
        SIGN_IN,
        f"how to get a token: {', '.join(GRANTS)} (default code: a browser)",
        options.one_of(*GRANTS),
        "GRANT",
        default="code",
    ),
    switch("client_credentials", SIGN_IN, "short for --grant client-credentials", variables=()),
    switch("device_code", SIGN_IN, "short for --grant device-code: sign in on another device", variables=()),
    row("token_endpoint", SIGN_IN, "where tokens are given, instead of looking it up", None, "URL"),
    row(
        "auth_issuer",
        SIGN_IN,
        "the authorization server to use, where there are several, or none is named",
        None,
        "URL",
    ),
    row("idp_issuer", SIGN_IN, "enterprise-managed: the company's identity provider", None, "URL"),
    row("idp_token_endpoint", SIGN_IN, "enterprise-managed: its token endpoint", None, "URL"),
    row("idp_client_id", SIGN_IN, "enterprise-managed: our client id there", None, "ID"),
    row("idp_client_secret_env", SIGN_IN, "enterprise-managed: the variable with our secret there", None, "VAR"),
    row("idp_id_token_env", SIGN_IN, "enterprise-managed: the variable with the ID token of the person", None, "VAR"),
    row(
        "assertion_file", SIGN_IN, "jwt-bearer: the file with the platform's JWT, read anew for each use", None, "FILE"
    ),
    # --- What is asked for
    row("scope", SIGN_IN, "the scopes to ask for, apart by blanks (default: what the server names)", None, "SCOPES"),
    row("resource", SIGN_IN, "the resource to ask a token for (default: the server's own)", None, "URL"),
    switch(
        "no_resource",
        SIGN_IN,
        "send no resource parameter",
        flags=("--no-resource", "--disable-resource-parameter"),
    ),
    row(
        "authorize_param",
        SIGN_IN,
        "one more parameter of the authorization request; may be repeated (in the variable: one per line)",
        None,
        "KEY=VALUE",
        repeats=True,
    ),
    switch("assume_pkce", SIGN_IN, "sign in although the server does not say that it knows PKCE with S256"),
    switch("no_dpop", SIGN_IN, "do not bind tokens to a key (DPoP), although the server offers it"),
    switch("use_id_token", SIGN_IN, "send the ID token instead of the access token"),
    # --- Where the person is
    switch("no_browser", SIGN_IN, "open no browser: show the URL, and take the redirect URL that is pasted"),
    row(
        "callback_host",
        SIGN_IN,
        "the host in the redirect URI (default localhost); we listen on the loopback addresses alone",
        None,
        "HOST",
        default="localhost",
    ),
    row("callback_port", SIGN_IN, "its port (default: made from the URL, as mcp-remote does)", _port, "PORT"),
    row("callback_path", SIGN_IN, "its path (default /oauth/callback)", None, "PATH", default="/oauth/callback"),
    row("auth_success_url", SIGN_IN, "where the browser goes after the sign-in (default: a page of ours)", None, "URL"),
    row(
        "auth_timeout",
        SIGN_IN,
        "how long a sign-in may take (default 5m)",
        options.positive_seconds,
        "TIME",
        default=300.0,
    ),
    row(
        "token_store",
        SIGN_IN,
        "where tokens are kept: file (default; --home), keyring (the operating system's), memory",
        options.one_of("file", "keyring", "memory"),
        "file|keyring|memory",
        default="file",
    ),
    row(
        "allow_private_auth",
        SIGN_IN,
        "a host inside this network that signs in for a public server; may be repeated",
        None,
        "HOST",
        default=(),
        repeats=True,
    ),
)
