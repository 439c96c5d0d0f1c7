"""The claims of the run-book, one module a topic: each a sentence and the test that decides it."""
