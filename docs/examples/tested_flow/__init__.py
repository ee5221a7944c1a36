"""A flow and its tests: `docs/how-to/test-a-flow.md` walks through them."""
