"""`python -m medley`: the command line, where the script `medley` is not on the path."""

from medley.cli import main

if __name__ == "__main__":
    main()
