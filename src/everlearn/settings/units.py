"""The words in capitals that stand for a value in the help, and what they mean."""

from __future__ import annotations

__all__ = ["UNITS"]

UNITS = {
    "N": "a whole number",
    "K": "a whole number",
    "M": "a whole number",
    "R": "a whole number",
    "SIZE": "bytes, or a number with a unit: 500KB, 512MB, 2GiB",
    "TOKENS": "whole tokens of the model's tokenizer",
    "STEPS": "optimizer steps",
    "WORDS": "a number of words",
    "MB": "10⁶ bytes, also fractions",
    "SECONDS": "seconds, also fractions",
    "DAYS": "days, also fractions",
    "SHARE": "a part, from 0 to 1 (of replay, a ratio)",
    "P": "a probability, from 0 to 1",
    "DROP": "a difference, from 0 to 1",
    "DECAY": "from 0 to 1",
    "RATE": "a learning rate above 0",
    "NORM": "a Euclidean norm",
    "FACTOR": "a number above 0",
    "T": "a number from 0",
    "ID": "an example's id",
    "DECISION": "the number of a decision, as `versions` lists it",
    "VERSION": "the number of a version, as `versions` lists it; head: the newest state",
    "NAME": "a name",
    "CODE": "a language's code, as the model's tokenizer has it",
    "TEXT": "text",
    "FIELD=VALUE": "a field's name and value",
    "CHARACTER": "one character",
    "FOLDER": "a folder",
}
"""Others stand for a file, or one of the words that the option's own text lists."""
