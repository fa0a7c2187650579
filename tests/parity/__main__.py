"""`python -m tests.parity FILE...`: errors per output for golden files, differing keys for manifests."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.parity.adapters import adapter_for
from tests.parity.golden import Comparison, compare, read_golden
from tests.parity.manifests import check_manifest


def check_golden(path: Path) -> list[Comparison] | None:
    """Every output of a golden file against ours; None if no adapter knows its kind."""
    golden = read_golden(path)
    adapter = adapter_for(golden)
    if adapter is None:
        return None
    with torch.inference_mode(mode=adapter.judge is None):
        ours = adapter.run(golden)
    if adapter.judge is not None:
        return [adapter.judge(name, ours.get(name), tensor) for name, tensor in sorted(golden.outputs.items())]
    return [
        compare(name, ours.get(name), tensor, whole_loop=adapter.whole_loop and "processed_input" not in name)
        for name, tensor in sorted(golden.outputs.items())
    ]


def report(path: Path) -> bool:
    """Print what was found in one file; whether it passed."""
    if path.suffix == ".json":
        keys = check_manifest(path)
        print(f"{path}: {'no network of this name' if keys is None else keys.summary() or 'keys and shapes match'}")
        return keys is not None and keys.matches
    comparisons = check_golden(path)
    if comparisons is None:
        print(f"{path}: no adapter for this kind of file")
        return False
    passed = all(comparison.passed for comparison in comparisons)
    print(f"{path}: {'ok' if passed else 'FAILED'}")
    for c in comparisons:
        verdict = "ok" if c.passed else f"FAILED {c.note}"
        print(f"  {c.name:44} max abs {c.max_abs:9.3e}  relative {c.relative:9.3e}  limit {c.limit:7.1e}  {verdict}")
    return passed


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: python -m tests.parity FILE...", file=sys.stderr)
        return 2
    passed = [report(Path(argument)) for argument in arguments]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
