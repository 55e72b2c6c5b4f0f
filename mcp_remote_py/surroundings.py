"""Surroundings: what the environment says of the way out of this network: proxies, and certificates to trust.

Both programs read it in the same way: the bridge, and the server for members that are remote servers themselves. The
environment is handed in; files are only named here.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping

from mcp_remote_py.arguments import file_name
from mcp_remote_py.settings import TrustFile

_TRUST_VARIABLES = (
    ("NODE_EXTRA_CA_CERTS", False),
    ("SSL_CERT_FILE", False),
    ("SSL_CERT_DIR", True),
    ("REQUESTS_CA_BUNDLE", False),
    ("CURL_CA_BUNDLE", False),
)
"""Variables that name certificates, and whether they name folders. REQUESTS_CA_BUNDLE may name either."""


def trust_files(environ: Mapping[str, str], path_separator: str) -> tuple[TrustFile, ...]:
    """Return the files and folders of certificates that variables name. `path_separator` is `os.pathsep`."""
    found: list[TrustFile] = []
    for name, is_folder in _TRUST_VARIABLES:
        text = environ.get(name, "")
        paths = text.split(path_separator) if is_folder else [text]
        found += [TrustFile(file_name(path, name), name, is_folder) for path in paths if path.strip()]
    return tuple(found)


def proxy_variables(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Both cases count, the lower one wins. In a CGI program HTTP_PROXY is what a client sent (httpoxy): not read."""
    found: dict[str, str] = {}
    for kind in ("https", "http", "all", "no", "auto"):
        upper = "" if kind == "http" and "REQUEST_METHOD" in environ else environ.get(f"{kind.upper()}_PROXY", "")
        text = environ.get(f"{kind}_proxy", "") or upper
        if text.strip():
            found[kind] = text.strip()
    return tuple(found.items())


def secrets_of_proxies(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names and passwords in the URLs of proxies."""
    found: list[str] = []
    for text in texts:
        userinfo = text.rpartition("@")[0].rpartition("//")[2]
        if userinfo:
            password = userinfo.partition(":")[2]
            found += [userinfo, urllib.parse.unquote(userinfo), password, urllib.parse.unquote(password)]
    return tuple(secret for secret in found if secret)


def secrets_of_url(url: str) -> tuple[str, ...]:
    """What stands in the query of the URL counts as secret."""
    return tuple(content for _, content in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
