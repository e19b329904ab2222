"""`python -m synfire` is `synfire`."""

from synfire.cli import main

main()
