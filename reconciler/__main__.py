"""The program's first lines, as `reconciler` and as `python -m reconciler`: signals first, then all the rest."""

import sys

try:
    from reconciler.cli import listen
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        listen(sys.argv[1:])
        from reconciler.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
