"""Lets ``python -m sanstream`` run the command line."""

from sanstream.cli import main

if __name__ == "__main__":
    main()
