"""`python -m darius_cli`: the same as the `darius` command."""

from darius_cli.main import main

if __name__ == "__main__":
    main()
