"""What the package says of itself agrees: version, licence, changes and pages."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

from cosmos_cli import registry
from cosmos_cli.import_strings import resolve

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
    catalogues = [resolve(f.checkpoints, needed_by=f.name) for f in families if f.checkpoints]
    known = {each.name for catalogue in catalogues for model in catalogue.values() for each in model}
    assert pages and set(pages) <= known


def test_every_file_beside_the_code_travels_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates, styles, scripts, fonts and tiny weights: what is left behind is missed only where it is installed."""
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files(["pyproject.toml"])
    builder = build_py(distribution)
    builder.finalize_options()
    builder.manifest_files = {}  # version control has no say
    travels = {
        Path(name).resolve()
        for package in distribution.packages
        for name in builder.find_data_files(package, builder.get_package_dir(package))
    }
    there = {
        path.resolve()
        for folder in ("cosmos_cli", "plugins")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {path.suffix for path in there} > {".j2", ".css", ".js", ".safetensors"}
    assert not there - travels
