import os
import signal
import threading
import time

import pytest

from raeg_jax.training import preemption


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_signal_sets_a_flag_and_interrupts_nothing(number):
    with preemption.Preemption() as stop:
        assert stop.requested() is None
        os.kill(os.getpid(), number)
        time.sleep(0)  # Python runs handlers between instructions
        assert stop.requested() == signal.Signals(number).name


def test_second_ctrl_c_interrupts():
    def twice():
        with preemption.Preemption():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    # A shell that runs the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            twice()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signalled", [False, True])
def test_handlers_are_put_back(signalled):
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    with preemption.Preemption():
        assert [signal.getsignal(number) for number in preemption.SIGNALS] != before
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def work():
        with preemption.Preemption() as stop:
            seen.append(stop.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
