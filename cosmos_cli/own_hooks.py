"""What cosmos itself brings through the hooks of plugins."""

from cosmos_cli.hookspecs import RegisterExtension, hookimpl


@hookimpl
def cosmos_register_batch_engines(register: RegisterExtension) -> None:
    register(
        name="local",
        help="Batches on this machine, and on those that it is launched on.",
        factory="cosmos_cli.batch.local:LocalEngine",
    )
    register(
        name="ray",
        help="Batches on the machines of a Ray cluster, which RAY_ADDRESS names, or on one that is started here.",
        factory="cosmos_cli.batch.ray.engine:ray_engine",
    )
