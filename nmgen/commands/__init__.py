"""The commands of `nmgen`, a module each.

A module gives NAME, HELP (one line), EXAMPLE (shown by --help), add_arguments(parser) and run(args), which returns the
exit status: 0 right, 1 a mismatch or missed timing, 2 bad input. Heavy imports stand inside run, so that help is quick.
"""
