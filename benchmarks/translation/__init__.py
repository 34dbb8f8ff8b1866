"""Translation on shifting text: first training, then online adaptation."""
