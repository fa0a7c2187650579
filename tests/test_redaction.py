"""No secret and nothing that a terminal obeys gets past the border, whatever it is written as."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import markupsafe
import pytest

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.writing import write_json
from cosmos_cli.models.chat_server import HttpChatModel, completions_url
from cosmos_cli.redaction import hide, hide_in, visible

KEY = 'q7"Zx/4+ü w&9\\'

NAMES = ["COSMOS_CHAT_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"]
NAMES += ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MY_PASSWORD", "github_token"]


@pytest.fixture(autouse=True)
def speaking() -> Iterator[None]:
    output.configure(speaking=True)
    yield
    output.configure(speaking=False)


WRITTEN = {
    "plain": lambda key: key,
    "within a word": lambda key: f"a{key}b",
    "url": lambda key: quote(key, safe=""),
    "form": quote_plus,
    "json": json.dumps,
    "json, not ASCII": lambda key: json.dumps(key, ensure_ascii=False),
    "repr": repr,
    "page": lambda key: str(markupsafe.escape(key)),
    "bytes": lambda key: repr(key.encode()),
    "basic auth": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
    "basic auth of another": lambda key: base64.b64encode(f"them:{key}".encode()).decode(),
    "basic auth of one": lambda key: base64.b64encode(f"you12:{key}".encode()).decode(),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3cr3t-value")
    assert hide("the server said s3cr3t-value.") == "the server said ***."


@pytest.mark.parametrize("form", WRITTEN)
def test_a_secret_is_hidden_in_every_form(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    written = WRITTEN[form](KEY)
    hidden = hide(f"sent {written} away")
    core = base64.b64encode(KEY.encode()).decode()[:8]
    assert hidden.startswith("sent ") and hidden.endswith(" away") and "***" in hidden
    assert KEY not in hidden and written not in hidden and core not in hidden


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("name", ["HF_ENDPOINT", "HTTPS_PROXY", "http_proxy", "ALL_PROXY", "COSMOS_CRITIC_URL"])
def test_a_password_in_an_address_is_hidden_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    monkeypatch.setenv(name, f"{scheme}://user:p%40ss-word@host:8080/x")
    hidden = hide(f"no route to {scheme}://user:p%40ss-word@host:8080/x; login user, p@ss-word")
    assert hidden == f"no route to {scheme}://***@host:8080/x; login user, ***"


def test_the_login_that_the_hub_s_client_has_stored_is_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("stored-login-42\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hide("Bad credentials: stored-login-42") == "Bad credentials: ***"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://cdn/x?X-Amz-Signature=ab12cd&X-Amz-Date=1", "https://cdn/x?X-Amz-Signature=***&X-Amz-Date=1"),
        (
            "https://cdn/x?Expires=1&Signature=a~b_&Key-Pair-Id=K1",
            "https://cdn/x?Expires=1&Signature=***&Key-Pair-Id=***",
        ),
        ("{'Authorization': 'Bearer abcdef'}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic ***"),
        ("token hf_abcdefghijklmnopqrstuvwx is", "token *** is"),
        ("ftp://me:you@host", "ftp://***@host"),
    ],
)
def test_what_looks_like_a_secret_by_its_place_is_hidden(text: str, hidden: str) -> None:
    assert hide(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "A bearer of good news at a basic level, key=3, sk-8 boards.",
        "--path=a@b.mp4, me@example.org, s3://bucket/key?x=1",
        "no such token; the signature differs",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    assert hide(text) == visible(text) == text


def test_a_short_secret_is_hidden_alone_and_leaves_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("HF_TOKEN", "road")
    monkeypatch.setenv("MY_PASSWORD", "a")
    assert hide("a broad road, none") == "a broad ***, none"


def test_every_way_out_hides_secrets_and_shows_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cr3t-value")
    text = "s3cr3t-value \x1b[31m\r\x07\x9b2J\u202e red"
    output.status(text)
    output.notice(text)
    with output.progress(text):
        pass
    output.result(text, {})
    output.text(output.table((text,), [(f"a\n{text}",)]))
    output.data({text: [text, Path(text)]})
    output.error(CosmosError(text, where=text, fix=text))
    output.trace(f"Traceback\n{text}")
    output.use_json(True)
    output.error(InputError(text))
    captured = capsys.readouterr()
    for stream in captured:
        assert "s3cr3t" not in stream and "***" in stream
        assert not set(stream) & set("\x1b\r\x07\x9b\u202e")
    document = json.loads(captured.out[captured.out.rindex('{\n  "status"') :])
    assert document["problems"][0]["what"] == "*** \x1b[31m\r\x07\x9b2J\u202e red"  # the same text to programs

    write_json(tmp_path / "a.json", {"said": text, "prompts": [text]})
    assert "s3cr3t" not in (tmp_path / "a.json").read_text()


def test_names_and_numbers_of_a_document_stay_what_they_are() -> None:
    document = {"a": [1, 2.5, None, True, "x"], "b": {"c": "d"}}
    assert hide_in(document) == document


def test_a_password_that_is_a_word_of_ours_costs_no_field(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, word in (("A_TOKEN", "prompt"), ("DB_PASSWORD", "request"), ("C_SECRET", "status")):
        monkeypatch.setenv(name, word)
    document = {"request": {"prompt": "a cat", "num_frames": 3}, "status": "ok"}
    assert hide_in(document) == document
    assert hide_in({"no Field request": 1}) == {"no Field ***": 1}


@pytest.mark.parametrize("key", ["two\nlines", "a\x1bb", "a b", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused_at_once_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"COSMOS_CHAT_API_KEY": key})  # no shell can set it
    else:
        monkeypatch.setenv("COSMOS_CHAT_API_KEY", key)
    for ask in (lambda: completions_url("http://host"), lambda: HttpChatModel("http://host", "m")):
        with pytest.raises(InputError, match=r"^COSMOS_CHAT_API_KEY: holds a line break") as raised:
            ask()
        assert key not in str(raised.value)
