"""Synthesis, place and route as tasks of a Dask cluster: a worker that is lost costs its task."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from nmgen.fpga.place_and_route import OwnTools
from nmgen.fpga.tools import StoppedError, ToolError
from rtl.params import InputError

TRIES = 3  # of a task of which the cluster has lost what was sent
LOOK_S = 0.2  # between two looks whether it is done

Files = dict[str, bytes]  # by name


class ClusterTools:
    """The tools of the workers, which bring their own yosys and nextpnr; files go there and back.

    A tool that works when its result is no longer wanted goes on to its end there.

    Parameters
    ----------
    client : of Dask
    lost : kinds of exceptions by which it tells that a task was lost
    """

    def __init__(self, client: Any, lost: tuple[type[Exception], ...]) -> None:
        self._client, self._lost = client, lost

    def version(self, program: str) -> str:
        """That of all workers. InputError, too, where they differ, or there are no workers."""
        try:
            said = self._client.run(_version, program)
        except self._lost as error:
            raise InputError(f"the cluster does not tell its version of {program}: {error}") from None
        if not said:
            raise InputError(f"the cluster has no workers to run {program}")
        versions = sorted(set(said.values()))
        if len(versions) > 1:
            raise InputError(f"workers have different versions of {program}: {', '.join(versions)}")
        return str(versions[0])

    def run(self, program: str, arguments: Sequence[str], folder: Path, what: str, stop: Event) -> None:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        for tries in range(TRIES):
            try:
                written = self._once(program, arguments, files, what, stop)
                break
            except self._lost as error:
                if tries == TRIES - 1:
                    raise ToolError(f"{what} was lost by the cluster {TRIES} times: {error}") from None
        for name, data in written.items():
            (folder / name).write_bytes(data)

    def _once(self, program: str, arguments: Sequence[str], files: Files, what: str, stop: Event) -> Files:
        future = self._client.submit(_run, program, list(arguments), files, what, pure=False)
        while not future.done():
            if stop.wait(LOOK_S):
                future.cancel()
                raise StoppedError
        written: Files = future.result()
        return written


def _version(program: str) -> str:
    return OwnTools().version(program)


def _run(program: str, arguments: list[str], files: Files, what: str) -> Files:
    """On a worker: the files that the tool writes."""
    with TemporaryDirectory(prefix="nmgen-") as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        OwnTools().run(program, arguments, folder, what, Event())
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in files}
