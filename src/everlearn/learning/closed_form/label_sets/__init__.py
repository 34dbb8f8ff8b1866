"""Several labels an example: what differs from one label an example, where predictions are made.

What is remembered is the same (see ``statistics``). One column of the ridge expert a label estimates whether
an example has it, whatever else it has; a calibration makes probabilities of the columns and decides.
"""

__all__: list[str] = []
