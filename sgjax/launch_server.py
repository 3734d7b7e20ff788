"""`python -m sgjax.launch_server --model-path …`: SGLang's way to start a server."""

import sys

from sgjax.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
