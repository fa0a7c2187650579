"""Worlds that drift: a picture continued by moving it at a constant velocity."""

from cosmos_cli.hookspecs import RegisterExtension, RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="drift",
        help="Continue a picture as a world that drifts.",
        commands="cosmos_drift.commands:app",
        checkpoints="cosmos_drift.checkpoints:CATALOGUE",
    )


@hookimpl
def cosmos_register_guardrails(register: RegisterExtension) -> None:
    register(
        name="word-list",
        help="Refuses prompts that hold a listed word.",
        factory="cosmos_drift.guardrail:word_list",
    )


@hookimpl
def cosmos_register_prompt_refiners(register: RegisterExtension) -> None:
    register(
        name="time-of-day",
        help="Adds to the prompt whether the picture shows day or night.",
        factory="cosmos_drift.refiner:time_of_day",
    )


@hookimpl
def cosmos_register_critics(register: RegisterExtension) -> None:
    register(
        name="steady-light",
        help="Measures how much the brightness varies.",
        factory="cosmos_drift.critic:steady_light",
    )
