"""``python -m tests.golden``: rewrites the golden losses. Run it only after a change that is meant to change them."""

from tests.golden.trials import GOLDEN_FILE, write

if __name__ == "__main__":
    write()
    print(f"wrote {GOLDEN_FILE}")
