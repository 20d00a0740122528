"""A server: steered models behind an API that chat clients speak, and a page to talk to them."""
