import importlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.harness.runtime import signals


class Deaf:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_interrupts_and_the_handlers_are_put_back():
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    for number in signals.SIGNALS:
        with pytest.raises(KeyboardInterrupt), signals.handle_signals():
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


class Broken:
    def __del__(self):
        raise LookupError


def test_what_is_dropped_of_an_interrupt_is_not_printed_and_all_else_is(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))
    with signals.handle_signals():
        Deaf()
        Broken()
    Broken()
    assert told == [LookupError] * 2


def test_a_dropped_interrupt_is_found_by_a_check_and_forgotten_with_its_block():
    with signals.handle_signals():
        signals.raise_if_interrupted()
        Deaf()
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_interrupted()
    signals.raise_if_interrupted()


IMPORTED = """
import signal
from experiments.harness import interrupts
with interrupts.heeded():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        heeded = True
signal.raise_signal(signal.SIGTERM)
whole = True
"""


def test_a_signal_waits_for_the_end_of_an_import_that_began_within_the_block(tmp_path, monkeypatch):
    (tmp_path / "imported_and_hit.py").write_text(IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        importlib.import_module("imported_and_hit")
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        work()
    assert sys.modules["imported_and_hit"].heeded
    assert sys.modules["imported_and_hit"].whole


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_held_signal_waits_for_a_check_or_the_blocks_end_and_a_second_one_does_not(number):
    passed = []

    @signals.defer_signals()
    def hit(times, check):
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
            hit(times, check)
        assert passed == expected
        passed.clear()


def initialise():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed") from None


def test_what_a_library_makes_of_an_interrupt_is_one_still():
    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        initialise()
    with pytest.raises(ZeroDivisionError), signals.handle_signals():
        print(1 / 0)


@pytest.mark.parametrize("code", [0, 2, signals.INTERRUPTED])
def test_a_signal_that_comes_when_all_is_done_changes_no_exit_code(code):
    lines = (
        "import atexit, signal",
        "from experiments.harness import interrupts",
        "atexit.register(signal.raise_signal, signal.SIGTERM)",
        f"interrupts.leave({code})",
    )
    made = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False)
    assert made.returncode == code
