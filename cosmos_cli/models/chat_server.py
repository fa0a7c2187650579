"""Chat models behind HTTP: any server that speaks the protocol of OpenAI's chat completions."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from email.message import Message as Headers
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from PIL import Image as PillowImage

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.documents import parse_json
from cosmos_cli.models.chat_messages import Image, Message, Part, Sampling, Video
from cosmos_cli.redaction import hide

API_KEY_VARIABLES = ("COSMOS_CHAT_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key of a server; the first that is set is sent."""

NUM_ATTEMPTS = 4
MAX_WAIT_S = 30.0
_MAX_ANSWER_BYTES = 16 << 20
_JPEG_QUALITY = 90

_BEYOND_PROTOCOL = ("top_k", "repetition_penalty")
"""Settings that the usual servers of open models know and OpenAI's own refuses."""


class _Busy(Exception):
    """The server may do better when asked again. `wait_s` is how long it wants to be left alone, if it said so."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _UnknownSettings(Exception):
    """The server refuses settings that the protocol does not have."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the key to an address that the user did not give."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Headers, newurl: str
    ) -> Request | None:
        return None


class HttpChatModel:
    """A model on a server that has `/v1/chat/completions`.

    Pictures are sent as PNG, a video as its frames in JPEG, both no larger than their limits say.

    Args:
        url: of the server, http or https, with or without `/v1`.
        model: the server's name for the model.
        api_key_variables: environment variables to look for a key in, read at each request.
        timeout_s: how long the server may be silent. An answer takes as long as the model needs.
        first_wait_s: pause before a busy or unreachable server is asked again; doubles each time.
    Raises:
        InputError: the URL is not one of a server.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_variables: Sequence[str] = API_KEY_VARIABLES,
        timeout_s: float = 300.0,
        first_wait_s: float = 1.0,
    ) -> None:
        self.url, self.model = completions_url(url), model
        api_key(api_key_variables)
        self._key_variables = tuple(api_key_variables)
        self._timeout_s, self._first_wait_s = timeout_s, first_wait_s
        self._opener = build_opener(_NoRedirects)
        self._unknown: set[str] = set()

    def answers(self, messages: Sequence[Message], sampling: Sampling) -> list[str]:
        """See `ChatModel.answers`. Each answer is asked for by itself, with the seeds from `sampling.seed` on.

        Not all servers give several answers to one question; those that run models of their own remember its beginning.
        Whether a seed repeats an answer is up to the server.
        """
        given = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
        }
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": _content(message)} for message in messages],
            "max_tokens": sampling.max_new_tokens,
            **{name: value for name, value in given.items() if value is not None},
        }
        return [self._ask({**request, "seed": sampling.seed + i}) for i in range(sampling.num_answers)]

    def _ask(self, request: dict[str, Any]) -> str:
        """The answer to one request; settings that the server does not know are left out from then on."""
        try:
            known = {name: value for name, value in request.items() if name not in self._unknown}
            return self._ask_patiently(json.dumps(known).encode())
        except _UnknownSettings as refusal:
            self._unknown |= set(refusal.names)
            output.notice(f"the chat server does not know {refusal}; its own setting is used")
            return self._ask(request)

    def _ask_patiently(self, body: bytes) -> str:
        """The answer to one request, asked again while the server is busy."""
        wait_s = self._first_wait_s
        for attempt in range(1, NUM_ATTEMPTS + 1):
            try:
                return self._text_of(self._post(body))
            except _Busy as busy:
                if attempt == NUM_ATTEMPTS:
                    raise self._failure(
                        f"{busy}, {NUM_ATTEMPTS} times in a row.", "Check that the server runs at this address."
                    ) from busy
                time.sleep(min(max(wait_s, busy.wait_s), MAX_WAIT_S))
                wait_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: bytes) -> bytes:
        """The server's answer to one request."""
        headers = {"Content-Type": "application/json"}
        if key := api_key(self._key_variables):
            headers["Authorization"] = f"Bearer {key}"
        try:
            with self._opener.open(Request(self.url, body, headers), timeout=self._timeout_s) as response:
                return response.read(_MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except TimeoutError as error:
            raise self._no_answer_in_time() from error
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise self._no_answer_in_time() from error
            raise _Busy(f"could not be reached ({reason or type(error).__name__})") from error

    def _refusal(self, error: HTTPError) -> Exception:
        """What an HTTP status means."""
        if error.code == 429 or error.code >= 500:
            asked = error.headers.get("Retry-After", "")
            return _Busy(f"is busy or out of order (HTTP {error.code})", float(asked) if asked.isdecimal() else 0.0)
        if 300 <= error.code < 400:
            return self._failure(
                f"sends on to another address (HTTP {error.code}).", "Give the address it sends on to, if you trust it."
            )
        said = self._said(error)
        if error.code in (401, 403):
            return self._failure(
                f"refused the key (HTTP {error.code}){said}.",
                f"Set {self._key_variables[0]} to a key that the server accepts.",
            )
        if error.code == 404:
            return self._failure(
                f"has no model {self.model!r}, or no chat completions at all (HTTP 404){said}.",
                "Check the name of the model and the address.",
            )
        refused = [name for name in _BEYOND_PROTOCOL if name in said and name not in self._unknown]
        if refused and error.code in (400, 422):
            return _UnknownSettings(refused)
        return self._failure(f"refused the request (HTTP {error.code}){said}.", "Change what the server objects to.")

    def _text_of(self, body: bytes) -> str:
        try:
            text = parse_json(body, where=self.url)["choices"][0]["message"]["content"]
        except (InputError, LookupError, TypeError) as error:
            raise self._failure(
                "answered with something that is no chat completion.", "Check the address: is it a chat server?"
            ) from error
        if text is not None and not isinstance(text, str):
            raise self._failure("answered with something that is no text.", "Use another model.")
        if not text or not text.strip():
            raise self._failure(f"answered with nothing from {self.model!r}.", "Ask again, or use another model.")
        return text

    def _said(self, error: HTTPError) -> str:
        """The server's own words, short, on one line."""
        try:
            words = error.read(2000).decode(errors="replace")
        except (OSError, HTTPException):
            return ""
        words = hide(words)  # who uses this as a library shows errors past the border of output
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
        return f": {words[:300]}" if words else ""

    def _no_answer_in_time(self) -> CosmosError:
        return self._failure(f"was silent for {self._timeout_s:g} s.", "Check the load of the server, or ask again.")

    def _failure(self, what: str, fix: str) -> CosmosError:
        return CosmosError(f"the chat server {what}", where=self.url, fix=fix)


def api_key(variables: Sequence[str] = API_KEY_VARIABLES) -> str:
    """The key to send; empty if there is none. Raises InputError, without showing it, for what no header can hold."""
    for name in variables:
        if key := os.environ.get(name, "").strip():
            if not re.fullmatch(r"[\x21-\x7e]+", key):
                raise InputError(
                    "holds a line break, a space or another character that no key has.",
                    where=name,
                    fix="Set it to the key alone, on one line.",
                )
            return key
    return ""


def completions_url(url: str) -> str:
    """The address to post to, from what a user gives.

    Raises:
        InputError: not http or https, without a host, or with a password or a query in it; or the key for it cannot
            be one.
    """
    api_key()
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"{url!r} is not the address of a chat server.", fix="Give one such as http://localhost:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "the address of the chat server may hold no password and no query.",
            where=f"{parts.scheme}://{parts.hostname}{parts.path}",
            fix=f"Give the key in the environment variable {API_KEY_VARIABLES[0]}.",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if not re.search(r"/v\d+\w*(/|$)", path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}/chat/completions"


def _content(message: Message) -> str | list[dict[str, Any]]:
    """The content of a message as the protocol has it; text alone stays plain, which every server understands."""
    if all(isinstance(part, str) for part in message.content):
        return "".join(str(part) for part in message.content)
    return [entry for part in message.content for entry in _entries(part)]


def _entries(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, str):
        return [{"type": "text", "text": part}]
    return [{"type": "image_url", "image_url": {"url": url}} for url in _data_urls(part)]


def _data_urls(part: np.ndarray | Image | Video) -> Iterator[str]:
    """The pictures of a part as the server gets them."""
    if isinstance(part, Video):
        most = part.frame_limits()[1]
        for frame_HWC in part.frames_FHWC:
            yield _data_url(_shrunk(frame_HWC, most), "jpeg", quality=_JPEG_QUALITY)
    elif isinstance(part, Image):
        yield _data_url(_shrunk(part.image_HWC, part.max_pixels), "png")
    else:
        yield _data_url(PillowImage.fromarray(part), "png")


def _shrunk(image_HWC: np.ndarray, max_pixels: float | None) -> PillowImage.Image:
    """In its own shape, no larger than that. Enlarging is left to the server: it would add nothing but bytes."""
    image = PillowImage.fromarray(image_HWC)
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (image.width * image.height))
    size = (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale)))
    return image.resize(size, PillowImage.Resampling.BICUBIC)


def _data_url(image: PillowImage.Image, form: str, **options: Any) -> str:
    encoded = io.BytesIO()
    image.save(encoded, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(encoded.getvalue()).decode()}"
