"""Import episodes of other formats: `python -m recorders.import from=episodes to=data/pong`."""

from .importing import main

if __name__ == "__main__":
    main()
