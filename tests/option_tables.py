"""The option tables of the guides, derived from the request models: `python -m tests.option_tables` writes them."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.requests import OptionDescription, describe_options
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

DOCS = Path(__file__).parent.parent / "docs"
GUIDES: dict[str, list[OptionDescription]] = {
    "predict2.md": describe_options(Video2WorldRequest, Video2WorldSettings),
    "transfer.md": describe_options(TransferRequest, TransferSettings, files=[CONTROLNET_SPECS]),
}
BEGIN, END = "<!-- options: written by `python -m tests.option_tables` -->\n", "<!-- end of options -->"


def with_table(guide: str, text: str) -> str:
    """The guide's text with its table as it should be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = ["| option | meaning | default |", "| --- | --- | --- |"]
    for option in GUIDES[guide]:
        names = ", ".join(f"`{name}`" for name in option.names)
        values = option.values.replace("|", ", ")
        default = "required" if option.required else option.default or ""
        variable = f" Variable: `{option.env}`." if option.env else ""
        rows.append(f"| {names} {values} | {option.help}{variable} | {default} |")
    return f"{head}{BEGIN}\n" + "\n".join(rows) + f"\n\n{END}{tail}"


if __name__ == "__main__":
    for name in GUIDES:
        path = DOCS / name
        path.write_text(with_table(name, path.read_text()))
