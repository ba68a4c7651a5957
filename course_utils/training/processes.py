"""One training in several processes: who they are, and what only the main one does for all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from course_utils import runtime

T = TypeVar("T")


class TrainingError(RuntimeError):
    """A training cannot start or go on. The message says why, what is kept and what to do."""


def processes() -> Accelerator:
    """The processes of this run, as `torchrun` or `accelerate launch` started them; one without either.

    Raises TrainingError where the device can't share a training: several equal copies would look like one run.
    """
    # Unless it is told, accelerate looks for GPUs only, and each process believes that it is alone.
    accelerator = Accelerator(cpu=runtime.device().type == "cpu")
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked > accelerator.num_processes:
        raise TrainingError(
            f"{asked} processes were started, but {runtime.device().type} trains in one only; start without torchrun"
        )
    return accelerator


def on_main(accelerator: Accelerator, act: Callable[[], T]) -> T:
    """What `act` returns in the main process, in every process. If it raises there, the others end without a word."""
    if accelerator.num_processes == 1:
        return act()
    found: list = [None, None]
    if accelerator.is_main_process:
        try:
            found[0] = act()
        except Exception as error:  # the others wait for an answer, whatever it is
            found[1] = error
    broadcast_object_list(found)
    if found[1] is not None:
        raise found[1] if accelerator.is_main_process else SystemExit(1)
    return found[0]


def leave(accelerator: Accelerator) -> None:
    """The last thing that a run does. One of several processes waits for the others and then ends, with code 0.

    It ends without tearing down its interpreter: torch's own threads may still hold Python objects of the last exchange, and
    an interpreter that goes away under them aborts now and then ("terminate called without an active exception").
    """
    accelerator.wait_for_everyone()  # a process that leaves while another is connected may abort it
    accelerator.end_training()
    if accelerator.num_processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
