"""`python -m cosmos_cli` is `cosmos`."""

from cosmos_cli.main import main

main()
