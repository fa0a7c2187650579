"""What knows about light: a guardrail, a prompt refiner and a critic, with weights in the checkpoint folder."""

from cosmos_cli.hookspecs import RegisterExtension, hookimpl


@hookimpl
def cosmos_register_guardrails(register: RegisterExtension) -> None:
    register(name="glare", help="Refuses glaring videos.", factory="cosmos_light.extensions:Glare")


@hookimpl
def cosmos_register_prompt_refiners(register: RegisterExtension) -> None:
    register(name="lamps", help="Says whether the lamps are lit.", factory="cosmos_light.extensions:Lamps")


@hookimpl
def cosmos_register_critics(register: RegisterExtension) -> None:
    register(name="exposure", help="Measures how well it is exposed.", factory="cosmos_light.extensions:Exposure")
