"""Brings one family, then breaks."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="early", help="Registered before the hook broke.", commands="cosmos_broken.early:app")
    raise RuntimeError("lost its calibration")
