"""Run a script as Python would, and record its trainings. The first process of an audit's run.

    python child.py REQUEST.json script.py [args...]

Nothing of Keras or NumPy is imported before the script does it, no random number is drawn, and
modules of the harness are out of the way of the script's own, which may have the same names.
"""

import ctypes
import importlib.machinery
import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = str(Path(__file__).parents[3])
FAILED = 1
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the script; its output and its exit code are this process's."""
    request = json.loads(Path(sys.argv[1]).read_text())
    sys.argv[:] = sys.argv[2:]
    script = Path(sys.argv[0]).absolute()
    _die_with_parent()
    finish = start(request, script)
    _restore_path(script)
    code, error, namespace = run(script)
    finish(code, error)
    del namespace  # until here, for the models in it
    sys.exit(code)


def start(request: dict[str, Any], script: Path) -> Any:
    """Install the hooks, as the request says; return the function that records the end."""
    variables = dict(os.environ)
    sys.path.insert(0, ROOT)
    from experiments.auditing.recording import evidence, switches
    from experiments.auditing.recording.event_log import EventLog
    from experiments.auditing.recording.import_hooks import ImportHooks
    from experiments.auditing.recording.keras_hooks import Recorder
    from experiments.auditing.recording.state import Detail

    sys.path.remove(ROOT)
    folder, calls = Path(request["folder"]), dict[str, dict[str, None]]()
    log = EventLog(folder / "record.jsonl", request["stop_after"])
    detail = Detail(**request["detail"]) if request["detail"] else None
    recorder, hooks, watched = Recorder(log, detail), ImportHooks(), evidence.Evidence(folder)
    sys.meta_path.insert(0, hooks)
    watched.watch()
    switches.apply(request["switches"], hooks, calls)
    hooks.after("keras", recorder.install)
    hooks.after("jax", recorder.install_jax)
    log.last_words["calls"] = calls
    started = log.clock()

    def finish(code: int, error: str) -> None:
        seconds = log.clock() - started
        watched.active = False
        recorder.script_ends()
        log.write(
            "end",
            exit=code,
            error=error,
            notes=[*recorder.notes, *log.failures, *evidence.other_frameworks()],
            calls=calls,
            files=watched.files,
            written=sorted(watched.written),
            threads=watched.threads,
            code=evidence.code(script),
            environment=evidence.environment(variables),
            seconds=seconds,
            recording=log.seconds,
        )

    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]  # the script may have a package of that name
    return finish


def run(script: Path) -> tuple[int, str, dict[str, Any]]:
    """Run the script as ``__main__``; return its exit code, its error, and its global names."""
    try:
        return 0, "", runpy.run_path(str(script), run_name="__main__")
    except SystemExit as exit_:
        if exit_.code is None or isinstance(exit_.code, int):
            code = exit_.code or 0
            return code, f"exit code {code}" if code else "", {}
        print(exit_.code, file=sys.stderr)
        return FAILED, str(exit_.code), {}
    except BaseException as error:
        error.__traceback__ = _own_part(error.__traceback__, script)
        sys.excepthook(type(error), error, error.__traceback__)
        return FAILED, traceback.format_exception_only(error)[-1].strip(), {}


def _own_part(found: TracebackType | None, script: Path) -> TracebackType | None:
    """Return a traceback from the script's first frame on, as without an audit."""
    while found and found.tb_frame.f_code.co_filename != str(script):
        found = found.tb_next
    return found


def _restore_path(script: Path) -> None:
    """Give ``sys.path`` the entry that Python gives it for a script.

    This package comes last if there is no other of its name, for scripts that import it.
    """
    if not sys.flags.safe_path:
        sys.path[0] = str(script.resolve().parent)
    if importlib.machinery.PathFinder.find_spec("experiments") is None:
        sys.path.append(ROOT)


def _die_with_parent() -> None:
    """Let the system end this process with the audit, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
