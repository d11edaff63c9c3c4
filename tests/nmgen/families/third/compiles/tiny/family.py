"""The same family to the commands: what reads text is trained, scored and compiled as BERT is."""

from nmgen.families.bert.family import (
    HOST,
    NEEDS,
    calibration,
    given,
    goal,
    layer_inputs,
    lengths,
    outputs,
    program,
    reference,
    scoring,
)

TITLE = "a tiny one"
