"""The way in: `noclone` and `python -m noclone`. It imports nothing before it can answer Ctrl-C."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from noclone.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("noclone: interrupted\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
