"""A task that everlearn does not have: a tag for each word of a text. One folder; the line is in the test."""
