"""The same family to the commands: what reads text is trained, scored and compiled as BERT is."""

from nmgen.families.bert.family import (
    HOST,
    NEEDS,
    calibration,
    given,
    goal,
    layer_inputs,
    lengths,
    measure,
    outputs,
    program,
    reference,
)

TITLE = "a tiny one"
