"""Runs a program that gets SIGTERM when its parent ends: ``python tied.py PARENT PROGRAM [ARGUMENT ...]``.

For Linux: the kernel keeps the request across exec (prctl(2), PR_SET_PDEATHSIG). It holds however the parent
ends, even by SIGKILL, so no Envoy is left behind. This file is run by its path.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, then become the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("the parent has ended")  # before it could be asked for
    os.execvp(command[0], command)  # noqa: S606 - the command line of `extproc run`


if __name__ == "__main__":
    main()
