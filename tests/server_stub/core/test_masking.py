"""What operators see of command lines and addresses: no secret, and as much else as possible."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.redact import MASK
from server_stub.core.masking import masked_line, masked_url, masked_words

PLAIN = [
    ["npx", "-y", "@modelcontextprotocol/server-memory"],
    ["python", "-m", "memory_mcp", "--verbose", "-p", "8080"],
    ["uvx", "mcp-server-git", "--repository", "/home/user/Projects2024/Things"],
    ["docker", "run", "-i", "--rm", "-e", "GITHUB_TOKEN", "ghcr.io/github/github-mcp-server:v1.2.3"],
    ["node", "server.js", "--max-tokens", "4096", "--token-file", "/etc/token", "--api-key-env", "KEY_OF_MINE"],
    ["mcp-remote-py", "https://mcp.example.com/v1/mcp?region=eu", "--transport", "http-only"],
    ["tool", "--key=", "--keyboard", "de", "--author", "me"],
    [],
]


@pytest.mark.parametrize("words", PLAIN)
def test_words_that_hold_no_secret_stay(words: list[str]) -> None:
    assert masked_words(words) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--api-key", "abc"], ["--api-key", MASK]),
        (["--token=abc"], [f"--token={MASK}"]),
        (["--password", "pass word"], ["--password", MASK]),
        (["-e", "HARMLESS=abc"], ["-e", f"HARMLESS={MASK}"]),
        (["-eHARMLESS=abc"], [f"-eHARMLESS={MASK}"]),
        (["--env=HARMLESS=abc"], [f"--env=HARMLESS={MASK}"]),
        (["--header", "Accept: text/plain"], ["--header", f"Accept: {MASK}"]),
        (["-HX-Mine:abc"], [f"-HX-Mine: {MASK}"]),
        (["-u", "user:pw"], ["-u", MASK]),
        (["env", "API_KEY=abc", "node"], ["env", f"API_KEY={MASK}", "node"]),
        (["postgresql://u:pw@host/db"], [f"postgresql://{MASK}@host/db"]),
        (["https://h/mcp?api_key=abc&region=eu"], [f"https://h/mcp?api_key={MASK}&region=eu"]),
        (["https://h/s/ZjU4MmQ1ZWQtNTQ4ZS00abC/mcp"], [f"https://h/s/{MASK}/mcp"]),
        (["host=db password=abc"], [f"host=db password={MASK}"]),
        (['{"apiKey": "abc", "region": "eu"}'], [f'{{"apiKey": "{MASK}", "region": "eu"}}']),
        (["ghp_abcdefghijklmnop0123"], [MASK]),
        (["sk-proj-abcdefghijklmnop"], [MASK]),
        (["prefix:xoxb-1234567890-abc"], [f"prefix:{MASK}"]),
        (["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abc"], [MASK]),
        (["0123456789abcdef0123456789abcdef"], [MASK]),
        (["Zx81kLmN0pQrStUvWxYz123"], [MASK]),
    ],
)
def test_words_that_hold_one_do_not_show_it(words: list[str], expected: list[str]) -> None:
    assert masked_words(words) == expected


def test_of_a_line_for_a_shell_only_words_that_hold_one_are_changed() -> None:
    line = """TOKEN='a b' npx -y foo --header 'Authorization: Bearer abc' "$HOME/x y"  | tee "a b" """
    expected = f"""TOKEN={MASK} npx -y foo --header Authorization: {MASK} "$HOME/x y"  | tee "a b" """
    assert masked_line(line) == expected
    assert masked_line("unbalanced ' quotes --token abc") == f"unbalanced ' quotes --token {MASK}"


def test_of_an_address_only_place_and_path_are_shown() -> None:
    assert masked_url("https://u:p@h:8/v1/mcp?token=1#x") == "https://h:8/v1/mcp"
    assert masked_url("wss://h/ghp_abcdefghijklmnop0123/ws") == f"wss://h/{MASK}/ws"
    assert masked_url("http://[broken") == MASK
