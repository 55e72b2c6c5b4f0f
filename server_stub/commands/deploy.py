"""`deploy systemd` and `deploy nginx`: the files that a machine needs to serve a configuration.

Reads the configuration, and finds programs; everything else is decided in `server_stub.deploy`.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mcp_remote_py.arguments import Parser, file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import bare_host
from mcp_remote_py.core.options import Option, Resolved
from server_stub import option_table
from server_stub.configuration import of_front
from server_stub.core.addressing import Naming
from server_stub.core.roster import Roster
from server_stub.deploy import MARK, sites, unit

PROGRAM = "mcp-remote-server"
_UNIT, _NGINX, _OUTPUT = "the unit", "nginx", "output"


def _row(flag: str, group: str, text: str, metavar: str, **more: Any) -> Option:
    if metavar in ("FILE", "DIR"):
        more.setdefault("parse", file_name)
    return Option(flag[2:].replace("-", "_"), (flag,), text, group, metavar=metavar, **more)


def _address(text: str, where: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no IP address.") from None


_OUT = (
    _row("--out", _OUTPUT, "write into this folder (default: to stdout)", "DIR"),
    Option("force", ("--force",), "also over a file that was written by somebody else", _OUTPUT, sets=True),
)
SYSTEMD: tuple[Option, ...] = (
    _row(
        "--user",
        _UNIT,
        "the user that the server runs as (default mcp-remote)",
        "USER",
        parse=unit.check_user,
        default="mcp-remote",
    ),
    _row(
        "--env-file",
        _UNIT,
        "a file of variables that systemd reads for the server; may be repeated, the later wins",
        "FILE",
        repeats=True,
        default=(),
    ),
    _row(
        "--writable",
        _UNIT,
        "a folder below somebody's home that servers may write into; may be repeated",
        "DIR",
        repeats=True,
        default=(),
    ),
    _row("--program", _UNIT, "where mcp-remote-server is on that machine (default: where it is here)", "FILE"),
    Option(
        "template",
        ("--template",),
        "a template unit instead: mcp-remote-server@NAME runs one server, as NAME.env says (PORT, SHELL_CMD)",
        _UNIT,
        sets=True,
        default=False,
    ),
    _row(
        "--env-dir", _UNIT, "where the template finds NAME.env and .env (default /etc/mcp)", "DIR", default="/etc/mcp"
    ),
    *_OUT,
)
"""The rows of `deploy systemd`, besides those of the server."""
NGINX: tuple[Option, ...] = (
    _row(
        "--listen",
        _NGINX,
        "address for HTTP (default 80 and [::]:80); may be repeated",
        "ADDRESS",
        parse=sites.check_listen,
        repeats=True,
        default=("80", "[::]:80"),
    ),
    _row(
        "--tls-listen",
        _NGINX,
        "address for HTTPS (default 443 and [::]:443), where there is a certificate; may be repeated",
        "ADDRESS",
        parse=sites.check_listen,
        repeats=True,
        default=("443", "[::]:443"),
    ),
    _row("--tls-cert", _NGINX, "the certificate with its chain, for all names", "FILE"),
    _row("--tls-key", _NGINX, "its key", "FILE"),
    _row(
        "--rate-limit",
        _NGINX,
        "how many requests each address may send, such as 10r/s (default: no limit)",
        "RATE",
        parse=sites.check_rate,
    ),
    _row(
        "--dns",
        _NGINX,
        "print the DNS records for this address of the machine, and nothing else; may be repeated",
        "ADDRESS",
        parse=_address,
        repeats=True,
        default=(),
    ),
    *_OUT,
)
"""The rows of `deploy nginx`, besides those of the server."""
_OF_SERVER = {
    "systemd": tuple(
        row
        for row in option_table.OPTIONS
        if row.name == "config" or row.group not in (option_table.WHAT, option_table.CHILD)
    ),
    "nginx": tuple(
        row
        for row in option_table.OPTIONS
        if row.name in ("config", "host", "port", "domain", "host_pattern", "port_per_server", "aggregate", "max_body")
    ),
}
_SECRET_FILES = {"auth_token_file": "auth-tokens", "admin_token_file": "admin-tokens", "jwt_public_key": "jwt-key"}
"""Options that name a file which systemd hands on as a credential, and that credential's id."""


class _File(NamedTuple):
    """What is to be written, and what is to be said about it."""

    name: str
    text: str
    notes: tuple[str, ...]
    steps: tuple[str, ...]


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """See the module's text. Raises `ConfigError`."""
    kinds: dict[str, Callable[[Resolved, Mapping[str, str]], _File | None]] = {"systemd": _systemd, "nginx": _nginx}
    kind = arguments[1] if len(arguments) > 1 else "--help"
    if kind not in kinds:
        if kind in ("--help", "-h"):
            sys.stdout.write(f"usage: {PROGRAM} deploy systemd|nginx [options]   (each has its --help)\n")
            return 0
        raise ConfigError(f"deploy: {kind!r} is neither systemd nor nginx.{options.did_you_mean(kind, kinds)}")
    table = (*_OF_SERVER[kind], *(SYSTEMD if kind == "systemd" else NGINX))
    parser = Parser(
        table,
        prog=f"{PROGRAM} deploy {kind}",
        usage=f"{PROGRAM} deploy {kind} --config FILE [options]",
        description=_ABOUT[kind],
        epilog="The options of the server mean what they mean there, and a unit hands them on to it.",
    )
    parsed, unknown = parser.parse_known_args(list(arguments[2:]))
    if parser.answered(parsed):
        return 0
    if unknown:
        raise ConfigError(parser.unknown(unknown[0].partition("=")[0]))
    resolved = options.resolve(table, parsed.given or {}, environ)
    file = kinds[kind](resolved, environ)
    if file is not None:
        _put(file, resolved)
    return 0


_ABOUT = {
    "systemd": "Writes a systemd unit that runs the servers of a configuration file.",
    "nginx": "Writes an nginx file, for in front of mcp-remote-server: a host name for each server of a configuration.",
}


def _put(file: _File, resolved: Resolved) -> None:
    for note in file.notes:
        sys.stderr.write(f"{PROGRAM}: note: {note}\n")
    if resolved.values["out"] is None:
        sys.stdout.write(file.text)
        return
    path = Path(resolved.values["out"]) / file.name
    try:
        done = _write(path, file.text, force=bool(resolved.values["force"]))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "what is there is no text"
        raise ConfigError(f"{path}: cannot be written ({reason}).") from None
    sys.stdout.write(f"{path}: {done}\n")
    if done != "unchanged":
        sys.stderr.write("".join(f"{step}\n" for step in ("Next:", *(f"  {step}" for step in file.steps))))


def _write(path: Path, text: str, *, force: bool) -> str:
    """Write a file in one step, unless it has this text, or is not ours. Returns what was done."""
    before = path.read_text(encoding="utf-8") if path.exists() else None
    if before == text:
        return "unchanged"
    if before is not None and MARK not in before.partition("\n")[0] and not force:
        raise ConfigError(f"{path}: somebody else wrote this file. Move it away, or add --force.")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return "written" if before is None else "replaced"


def _roster(resolved: Resolved, environ: Mapping[str, str]) -> Roster:
    """Read the file. Variables may be missing here that the machine will have, so what that spoils is a note."""
    from server_stub.config_file import inspect

    if not resolved.values["config"]:
        raise ConfigError("--config FILE is missing: the file of servers.")
    roster = inspect(resolved.values["config"], environ)
    of_all = [finding for finding in roster.errors if finding.member is None]
    if of_all and not roster.members:
        raise ConfigError("\n".join(str(finding) for finding in of_all))
    return roster


def _findings(roster: Roster | None) -> tuple[str, ...]:
    return () if roster is None else tuple(str(finding) for finding in roster.errors)


# --- systemd ---------------------------------------------------------------------------------------------------------


def _systemd(resolved: Resolved, environ: Mapping[str, str]) -> _File:
    is_template = bool(resolved.values["template"])
    if is_template:
        _check_template(resolved)
    roster = None if is_template else _roster(resolved, environ)
    values = resolved.values if roster is None else _with_head(resolved, roster)
    low_port = roster is not None and any(0 < (values[name] or 0) < 1024 for name in ("port", "port_per_server"))
    needs = unit.Needs(uses_docker=True) if roster is None else unit.needs_of(roster, shutil.which)
    program = os.path.abspath(values["program"]) if values["program"] else _program()
    config = "" if roster is None else os.path.abspath(values["config"])
    credentials = {name: os.path.abspath(values[name]) for name in _SECRET_FILES if values[name]}
    told = _template_words(resolved) if roster is None else _words(resolved, config)
    path = unit.search_path(needs.folders)
    ours = os.path.realpath(sys.executable) if values["program"] is None else ""
    homes = tuple(dict.fromkeys(name for name in (program, ours, config, *needs.homes) if unit.is_home(name)))
    logs = _log_folders(values)
    writable = (*map(os.path.abspath, values["writable"]), *filter(unit.is_home, logs))
    made = unit.Unit(
        command=" ".join([unit.word(program), *told]),
        user=values["user"],
        path=None if path is None else unit.quoted(f"PATH={path}"),
        env_files=tuple(unit.specified(os.path.abspath(file)) for file in values["env_file"]),
        credentials=tuple(f"{_SECRET_FILES[name]}:{unit.specified(file)}" for name, file in credentials.items()),
        writable=tuple(map(unit.quoted, writable)),
        homes=tuple(map(unit.specified, homes or filter(unit.is_home, writable))),
        uses_docker=needs.uses_docker,
        low_port=low_port and values["user"] not in ("root", "0"),
    )
    name = f"{unit.NAME}{'@' if is_template else ''}.service"
    text = _render(
        "service@.j2" if is_template else "service.j2",
        unit=made,
        name=unit.NAME,
        config=unit.specified(config),
        env_dir=unit.specified(os.path.abspath(values["env_dir"])),
        is_template=is_template,
    )
    notes = (*_findings(roster), *_unit_notes(resolved, needs, (program, ours, config)))
    return _File(name, text, notes, _unit_steps(made, is_template, logs))


def _check_template(resolved: Resolved) -> None:
    """See that nothing is said that a unit of one server would not heed. Raises `ConfigError`."""
    if resolved.levels["config"] is options.Level.FLAG:
        raise ConfigError("--template has a file of variables for each server, and --config is one for all. Keep one.")
    if resolved.levels["port"] is options.Level.FLAG:
        raise ConfigError(
            "--template: the port of each server is PORT in its file of variables, so --port is too much."
        )
    for row in option_table.OPTIONS:
        is_hosting = row.group == option_table.HOSTING and row.name not in ("domain", "host_pattern")
        if is_hosting and resolved.levels[row.name] is options.Level.FLAG:
            raise ConfigError(f"--template runs one server, and {row.flags[0]} is for a file of many. Keep one.")


def _log_folders(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the folders into which the server is told to write its logs, without the one that systemd makes."""
    wanted = [values["log_dir"], os.path.dirname(os.path.abspath(values["log_file"])) if values["log_file"] else None]
    found = dict.fromkeys(os.path.abspath(folder) for folder in wanted if folder)
    return tuple(folder for folder in found if folder != f"/var/log/{unit.NAME}")


def _program() -> str:
    found = shutil.which(PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(PROGRAM)
    if found is None:
        raise ConfigError(f"{PROGRAM} was not found. Say where it is with --program FILE.")
    return os.path.abspath(found)


def _words(resolved: Resolved, config: str) -> list[str]:
    """Return the options of the server, as a unit writes them: those of the command line, and those that our variables
    set here, which a service would not see."""
    told = ["--config", unit.word(config)]
    for row in _OF_SERVER["systemd"]:
        if row.name != "config" and resolved.levels[row.name] >= options.Level.ENVIRONMENT:
            told += _said(row, resolved)
    return told


def _said(row: Option, resolved: Resolved) -> list[str]:
    flag, value = row.flags[0], resolved.values[row.name]
    if row.sets is not None:
        return [flag] if value else []
    if row.name in _SECRET_FILES:
        return [flag, f'"${{CREDENTIALS_DIRECTORY}}/{_SECRET_FILES[row.name]}"']
    if row.metavar in ("FILE", "DIR"):
        return [flag, unit.word(os.path.abspath(value))]
    if row.repeats:
        return [word for one in value for word in (flag, unit.word(str(one)))]
    return [flag, unit.word(resolved.texts[row.name])]


def _template_words(resolved: Resolved) -> list[str]:
    """Return the options of one server, which its variables name."""
    told = ["--port", "${PORT}", "--shell", '"${SHELL_CMD}"', "--pass-environment"]
    if resolved.values["domain"]:
        domain = sites.check_domain(resolved.values["domain"])
        told += ["--allowed-host", resolved.values["host_pattern"].replace("{name}", "%i").replace("{domain}", domain)]
    hosting = {row.name for row in option_table.OPTIONS if row.group == option_table.HOSTING}
    for row in _OF_SERVER["systemd"]:
        if row.name not in (*hosting, "config", "port") and resolved.levels[row.name] is options.Level.FLAG:
            told += _said(row, resolved)
    return told


def _unit_notes(resolved: Resolved, needs: unit.Needs, paths: Sequence[str]) -> tuple[str, ...]:
    values = resolved.values
    found = [f"{name} is not installed here; that server will not start." for name in needs.missing]
    variables = (*values["auth_token_env"], *values["admin_token_env"], values["jwt_secret_env"])
    if any(variables) and not (values["env_file"] or values["template"]):
        found.append(f"put {', '.join(filter(None, variables))} into a file, and name it with --env-file.")
    for path in dict.fromkeys(filter(None, paths)):
        if unit.is_home(path):
            found.append(f"{path} lies in a home: can {values['user']} read it? Better below /opt, and /etc.")
        elif path.startswith(("/tmp/", "/var/tmp/")):  # noqa: S108  nothing is written there
            found.append(f"{path} cannot be seen by the service, which has a /tmp of its own.")
    if values["user"] in ("root", "0"):
        found.append("every server of the file will run as root.")
    return tuple(found)


def _unit_steps(made: unit.Unit, is_template: bool, logs: Sequence[str]) -> tuple[str, ...]:
    user = f"useradd --system --home-dir /var/lib/{unit.NAME} --shell /usr/sbin/nologin {made.user}"
    known: tuple[str, ...] = () if made.is_root else (f"id {made.user} || {user}",)
    if made.uses_docker and not made.is_root:  # without the group nothing of the unit would start
        known += ("getent group docker || groupadd --system docker",)
    folders = (f"install -d -o {made.user} -m 750 {shlex.quote(folder)}" for folder in logs)
    instance = f"{unit.NAME}@NAME" if is_template else unit.NAME
    return (
        *known,
        *folders,
        "systemctl daemon-reload",
        f"systemctl enable --now {instance}",
        f"journalctl -u {instance} -f",
    )


# --- nginx -----------------------------------------------------------------------------------------------------------


def _nginx(resolved: Resolved, environ: Mapping[str, str]) -> _File | None:
    roster = _roster(resolved, environ)
    values = _with_head(resolved, roster)
    if not values["domain"]:
        raise ConfigError("--domain is missing: the domain whose names lead to the servers, such as example.com.")
    if bool(values["tls_cert"]) != bool(values["tls_key"]):
        raise ConfigError("--tls-cert and --tls-key belong together: the certificate and its key.")
    if values["port"] == 0:
        raise ConfigError("--port: nginx must know the port. Write the one that the server listens on.")
    naming = Naming(values["domain"], values["host_pattern"], _ports(roster, values["port_per_server"]))
    found = sites.sites_of(roster, naming, sites.upstream_of(bare_host(values["host"]), values["port"]))
    if values["dns"]:
        sys.stdout.write("".join(f"{line}\n" for line in sites.records(found.hosts, values["dns"])))
        return None
    tls = None
    if values["tls_cert"]:
        tls = tuple(sites.quoted(os.path.abspath(values[name]), f"--{name.replace('_', '-')}") for name in _TLS_FILES)
    text = _render(
        "nginx.j2",
        sites=found.sites,
        hosts=found.hosts,
        tls=tls,
        listen=values["listen"],
        tls_listen=values["tls_listen"],
        rate=values["rate_limit"],
        body=values["max_body"],
        merged=values["aggregate"],
        zone="mcp_" + "".join(char if char.isalnum() else "_" for char in values["domain"].lower()),
        bucket_size=sites.bucket_size(found.hosts),
    )
    return _File(
        f"{unit.NAME}.conf",
        text,
        (*_findings(roster), *found.notes, *_open_doors(roster)),
        ("nginx -t", "nginx -s reload"),
    )


_TLS_FILES = ("tls_cert", "tls_key")


def _with_head(resolved: Resolved, roster: Roster) -> dict[str, Any]:
    """Return the values, with what the file, and the `.env` beside it, say about where the server is."""
    head = options.resolve(_OF_SERVER["nginx"], {}, {}, of_front(roster))
    at_default = {
        name: head.values[name] for name in ("host", "port", "domain") if resolved.levels[name] is options.Level.DEFAULT
    }
    return {**resolved.values, **at_default}


def _ports(roster: Roster, first: int | None) -> dict[int, str]:
    """Return the ports that the server gives its members."""
    if first is None:
        return {}
    if first + len(roster.members) > 65536:
        raise ConfigError(f"--port-per-server: from {first} on there are not enough ports.")
    return {first + at: member.name for at, member in enumerate(roster.members)}


def _open_doors(roster: Roster) -> tuple[str, ...]:
    """Whoever reaches nginx reaches the servers: say so where the file asks nobody for a token."""
    if roster.front.tokens:
        return ()
    names = [member.name for member in roster.members if member.enabled and member.manners.tokens is None]
    if not names:
        return ()
    who = f"{len(names)} servers ask" if len(names) > 1 else f"{names[0]!r} asks"
    return (
        f"{who} nobody for a token as far as the file says, and nginx lets the whole network in: start "
        "mcp-remote-server with --auth-token-env or --auth-token-file, or write `authTokens` into the file.",
    )


def _render(template: str, **values: Any) -> str:
    from server_stub.deploy.rendering import render

    return render(template, {"mark": MARK, **values})
