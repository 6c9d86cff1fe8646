"""`python -m flatspot.cli`, as `accelerate launch -m flatspot.cli train …` needs it."""

from flatspot.cli.main import main

main()
