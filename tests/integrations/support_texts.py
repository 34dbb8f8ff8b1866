"""A handful of real sentences of two topics, and questions that share few words with them."""

from __future__ import annotations

TEXTS = [
    "I forgot my password",
    "the parcel is a week late",
    "cannot sign in to my account",
    "where is my order",
    "my login is locked after three attempts",
    "my delivery has not arrived yet",
    "how do I change the e-mail address of my profile",
    "the courier left the box at the wrong door",
]
TOPICS = ["account", "delivery"] * 4
QUESTIONS = ["I lost my passphrase and want back in", "when will the package come?"]
ANSWERS = ["account", "delivery"]
