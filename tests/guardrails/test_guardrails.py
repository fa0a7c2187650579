"""Checks run in their order, once per prompt, and whatever goes wrong in one of them blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, CosmosError, GuardrailBlocked, InputError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.settings import MachineSettings
from tests.clips import moving_gradient
from tests.guardrails.plugins import Install, installing

guardrail = pytest.fixture(installing)


class Check:
    """A guardrail that refuses prompts with "no", and does to videos what it is told."""

    def __init__(self, on_video: Callable[[np.ndarray], Any] = lambda frames_FHWC: frames_FHWC) -> None:
        self.prompts: list[str] = []
        self.num_released = 0
        self._on_video = on_video

    def check_prompt(self, prompt: str) -> None:
        self.prompts.append(prompt)
        if "no" in prompt.split():
            raise GuardrailBlocked(f"refuses {prompt!r}.")

    def check_video(self, frames_FHWC: np.ndarray) -> Any:
        return self._on_video(frames_FHWC)

    def release(self) -> None:
        self.num_released += 1


def fails_with(error: Exception) -> Callable[[object], Any]:
    def fail(_: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [RuntimeError("no memory"), CosmosError("lost its server."), InputError("cannot see."), OSError()]
)
def test_a_check_that_breaks_blocks_and_is_named(error: Exception) -> None:
    broken = Check(fails_with(error))
    broken.check_prompt = fails_with(error)  # type: ignore[method-assign]
    checks = Guardrails({"sound": Check(), "broken": broken})
    for check in (lambda: checks.check_prompt("a bus"), lambda: checks.check_video(moving_gradient(1, 8, 8))):
        with pytest.raises(GuardrailBlocked, match="could not run and so blocks") as raised:
            check()
        assert raised.value.problems[0].where == "guardrail broken"
        assert type(error).__name__ in str(raised.value)


@pytest.mark.parametrize(
    "returned",
    [None, [], np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3), np.float32), torch.zeros(3, 8, 8, 3)],
    ids=["nothing", "list", "fewer", "float", "tensor"],
)
def test_a_check_that_returns_no_such_video_blocks_and_is_named(returned: Any) -> None:
    checks = Guardrails({"sound": Check(), "empty": Check(lambda _: returned)})
    with pytest.raises(GuardrailBlocked, match="guardrail empty: returned no video"):
        checks.check_video(moving_gradient(3, 8, 8))


def test_a_refusal_that_does_not_say_whose_it_is_gets_the_name_of_its_guardrail() -> None:
    with pytest.raises(GuardrailBlocked, match=r"^guardrail strict: refuses 'no buses'"):
        Guardrails({"strict": Check()}).check_prompt("no buses")


def test_damaged_weights_of_a_check_stay_what_they_are() -> None:
    checks = Guardrails({"damaged": Check(fails_with(CheckpointError("is damaged.")))})
    with pytest.raises(CheckpointError):
        checks.check_video(moving_gradient(1, 8, 8))


def test_a_video_passes_through_the_checks_in_their_order() -> None:
    double = Check(lambda frames_FHWC: frames_FHWC * np.uint8(2))
    add_one = Check(lambda frames_FHWC: frames_FHWC + np.uint8(1))
    checked_FHWC = Guardrails({"double": double, "add-one": add_one}).check_video(np.full((1, 2, 2, 3), 10, np.uint8))
    assert (checked_FHWC == 21).all()


def test_a_prompt_is_checked_once_whatever_came_of_it() -> None:
    check = Check()
    checks = Guardrails({"check": check})
    checks.check_ahead([["a bus", "no buses"], ["a bus"]])
    for _ in range(2):
        checks.check_prompt("a bus")
        with pytest.raises(GuardrailBlocked):
            checks.check_prompt("no buses")
    assert check.prompts == ["a bus", "no buses"]


def test_a_run_stops_ahead_only_if_nothing_of_it_may_be_made() -> None:
    check = Check()
    checks = Guardrails({"check": check})
    checks.check_ahead([["no", "a tram"], ["a bus"]])
    checks.check_ahead([])
    with pytest.raises(GuardrailBlocked, match="refuses 'no'"):
        checks.check_ahead([["a bus", "no"], ["no trams"]])
    assert check.num_released == 3  # after every look ahead, so that the networks of the run find room


def test_who_waits_for_thousands_of_prompts_sees_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    output.configure(speaking=True)
    output.follow(heard.append)
    Guardrails({"check": Check()}).check_ahead([[f"a bus {number}"] for number in range(200)])
    output.follow(lambda _: None)
    output.configure(speaking=False)
    assert "Checking the prompts 200 rows" in capsys.readouterr().err
    assert "Checking the prompts: 150 of 200 rows done" in heard


def tiny_guardrails() -> Guardrails:
    settings = MachineSettings()
    return load_guardrails(
        settings.checkpoint_dir,
        settings,
        is_published=False,
        device=torch.device("cpu"),
        offload=False,
        min_safe_share=1.0,
        safe_classes=("safe",),
    )


def test_a_model_that_ships_with_cosmos_has_a_word_list_and_says_that_this_is_all() -> None:
    checks = tiny_guardrails()
    assert checks.names == ["blocklist"]
    assert "nothing that looks at videos" in checks.gap
    checks.check_prompt("A grape vine over the porch of a gorey old house.")  # whole words only
    for prompt in ("A street full of gore.", "Mass  Shooting in a mall", " "):
        with pytest.raises(GuardrailBlocked, match="guardrail blocklist"):
            checks.check_prompt(prompt)


def test_a_plugin_adds_a_check_but_replaces_none_by_taking_its_name(guardrail: Install) -> None:
    guardrail("blocklist")
    checks = tiny_guardrails()
    assert checks.names == ["blocklist", "blocklist of a plugin"]
    with pytest.raises(GuardrailBlocked, match="forbids 'gore'"):
        checks.check_prompt("A street full of gore.")
