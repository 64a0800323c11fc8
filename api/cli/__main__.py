"""``python -m api.cli``: the same as ``shiplock``."""

from api.cli import main

main()
