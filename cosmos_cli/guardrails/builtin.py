"""The only check that needs no files: a short list of words that ask for what no test needs."""

from __future__ import annotations

from cosmos_cli.guardrails import Guardrail
from cosmos_cli.guardrails.blocklist import Blocklist

WORDS = (
    *("beheading", "child abuse", "decapitation", "disembowelment", "genocide", "gore", "incest", "massacre"),
    *("mass shooting", "mutilation", "nude child", "nude children", "pornographic", "pornography", "rape"),
    *("school shooting", "self-harm", "suicide", "suicide bombing", "torture"),
)


def builtin_guardrails() -> dict[str, Guardrail]:
    """A word list for models that have no published guardrail files. It is no safety system."""
    return {"blocklist": Blocklist(exact=WORDS, nouns=None)}
