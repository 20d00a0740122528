"""`python -m steerscope` is the command `steerscope`."""

from steerscope.cli import main

main()
