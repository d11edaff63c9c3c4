"""The hunt for inputs that a command does not take well: files and command lines, broken on purpose.

    python -m tests.fuzz --cases 2000 --seed 7        or: make fuzz CASES=2000 FUZZ_SEED=7

``corpus`` makes good files of every kind, ``lines`` has good command lines of every command, ``broken`` breaks one or
the other, and ``judge`` runs the outcome in a forked child and says what is wrong with what it did.
"""
