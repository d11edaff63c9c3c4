"""What this machine's CPU takes for MiniLM, to stand beside the accelerator's latency."""

import time
from pathlib import Path

KINDS_OF_CPU = {"float32": "fp32", "bfloat16": "bf16"}
RUNS, FIRST = 30, 5  # timed, and before those
THREADS = 2


def milliseconds(tokens: int, kind: str, sentences: int = 1) -> float:
    """Of some sentences of MiniLM at a time, from ids to embeddings, by torch: the least of some runs, since
    other work on the machine only makes them longer.

    Parameters
    ----------
    kind : of the numbers, float32 or bfloat16
    """
    import torch

    from pruning.families.bert.folder import load
    from pruning.files.folders import packaged_minilm

    encoder = load(packaged_minilm()).eval().to(getattr(torch, kind))
    ids = torch.randint(0, encoder.shape.vocabulary, (sentences, tokens), generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        taken = []
        with torch.inference_mode():
            for _ in range(FIRST + RUNS):
                begin = time.perf_counter()
                encoder.means(ids)
                taken.append(1000 * (time.perf_counter() - begin))
    finally:
        torch.set_num_threads(threads)
    return min(taken[FIRST:])


def processor() -> str:
    """Its name, as Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
