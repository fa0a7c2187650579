"""What the package says of itself agrees: version, licence, changes and pages."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

from cosmos_cli import registry

ROOT = Path(__file__).parent.parent


def test_version_and_licence_are_the_same_in_package_citation_and_changelog() -> None:
    about = metadata("cosmos-cli")
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == about["Version"]  # type: ignore[index]
    assert re.search(r"^license: (\S+)$", citation, re.MULTILINE)[1] == about["License-Expression"]  # type: ignore[index]
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", about["Version"]]


def test_pages_of_the_package_are_those_of_models_that_it_fetches() -> None:
    text = (ROOT / "pyproject.toml").read_text().partition("[project.urls]")[2].partition("\n[")[0]
    pages = re.findall(r'"https://huggingface\.co/(.+?)"', text)
    families = registry.current().families.values()
    catalogues = [registry.resolve(f.checkpoints, needed_by=f.name) for f in families if f.checkpoints]
    known = {each.name for catalogue in catalogues for model in catalogue.values() for each in model}
    assert pages and set(pages) <= known
