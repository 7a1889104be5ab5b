import importlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.harness.runtime import signals


class SignalInDel:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_interrupts_and_the_handlers_are_restored():
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    for number in signals.SIGNALS:
        with pytest.raises(KeyboardInterrupt), signals.handle_signals():
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


class ErrorInDel:
    def __del__(self):
        raise LookupError


def test_a_dropped_interrupt_is_not_printed_but_other_errors_are(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: printed.append(dropped.exc_type))
    with signals.handle_signals():
        SignalInDel()
        ErrorInDel()
    ErrorInDel()
    assert printed == [LookupError] * 2


def test_a_dropped_interrupt_is_raised_by_the_next_check_within_the_block():
    with signals.handle_signals():
        signals.raise_if_interrupted()
        SignalInDel()
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_interrupted()
    signals.raise_if_interrupted()


INTERRUPTED_MODULE = """
import signal
from experiments.harness.runtime import signals
with signals.handle_signals():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        inner_block_interrupted = True
signal.raise_signal(signal.SIGTERM)
import_finished = True
"""


def test_a_signal_waits_for_the_end_of_an_import_that_began_within_the_block(tmp_path, monkeypatch):
    (tmp_path / "interrupted_module.py").write_text(INTERRUPTED_MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        importlib.import_module("interrupted_module")
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        work()
    module = sys.modules["interrupted_module"]
    assert module.inner_block_interrupted
    assert module.import_finished


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_only_the_first_signal_is_deferred_until_a_check_or_the_end_of_the_block(number):
    passed = []

    @signals.defer_signals()
    def send_signals(times, check):
        for _ in range(times):
            signal.raise_signal(number)
            passed.append("signal")
        if check:
            signals.raise_if_interrupted()
        passed.append("end")

    for times, check, expected in [
        (1, True, ["signal"]),
        (1, False, ["signal", "end"]),
        (2, False, ["signal"]),
    ]:
        with pytest.raises(KeyboardInterrupt), signals.handle_signals():
            send_signals(times, check)
        assert passed == expected
        passed.clear()


def import_error_from_interrupt():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed") from None


def test_an_interrupt_that_a_library_converted_is_restored():
    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        import_error_from_interrupt()
    with pytest.raises(ZeroDivisionError), signals.handle_signals():
        print(1 / 0)


@pytest.mark.parametrize("code", [0, 2, signals.INTERRUPTED])
def test_a_signal_during_shutdown_does_not_change_the_exit_code(code):
    lines = (
        "import atexit, signal",
        "from experiments.harness.runtime import signals",
        "atexit.register(signal.raise_signal, signal.SIGTERM)",
        f"signals.exit_process({code})",
    )
    completed = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False)
    assert completed.returncode == code


def test_without_timers_a_signal_interrupts_too():
    code = """if True:
        import signal, sys
        del signal.SIGALRM, signal.setitimer
        from experiments.harness.runtime import signals
        try:
            with signals.handle_signals():
                signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            sys.exit(3)
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 3
