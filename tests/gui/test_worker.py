"""Jobs in threads: events and the result arrive, errors of every kind are told, late answers are dropped."""

import threading

import pytest

from napari_cellinterp.errors import MovieError
from napari_cellinterp.events import Progressed
from napari_cellinterp.gui.worker import Jobs, JobWorker, run_job


class Heard:
    """Notes what a job says, and in which thread."""

    def __init__(self):
        self.events, self.ends, self.threads = [], [], set()

    def event(self, event):
        self.events.append(event.done)
        self.threads.add(threading.current_thread())

    def answers(self):
        def end(kind):
            def note(*values):
                self.ends.append((kind, *values))
                self.threads.add(threading.current_thread())

            return note

        return self.event, end("result"), end("error"), end("cancelled")


def counting(n, gate=None, closed=None):
    def job():
        try:
            for i in range(n):
                yield Progressed(i + 1, n)
                if gate is not None:
                    gate.wait(10)
            return n
        finally:
            if closed is not None:
                closed.append(True)

    return job


def raising(error):
    def job():
        yield Progressed(1, 2)
        raise error

    return job


def test_result(qtbot):
    heard = Heard()
    run_job(counting(3), *heard.answers())
    qtbot.waitUntil(lambda: heard.ends != [])
    qtbot.wait(20)
    assert heard.events == [1, 2, 3]
    assert heard.ends == [("result", 3)]
    assert heard.threads == {threading.main_thread()}


def test_result_none_is_a_result(qtbot):
    heard = Heard()

    def job():
        yield Progressed(1, 1)

    run_job(job, *heard.answers())
    qtbot.waitUntil(lambda: heard.ends != [])
    assert heard.ends == [("result", None)]


@pytest.mark.parametrize("error", [RuntimeError("as torch's"), MovieError("no", "yes"), ValueError("odd")])
def test_every_error_is_told(qtbot, error):
    heard = Heard()
    run_job(raising(error), *heard.answers())
    qtbot.waitUntil(lambda: heard.ends != [])
    qtbot.wait(20)
    assert heard.ends == [("error", error)]


def test_error_while_the_job_is_made(qtbot):
    heard = Heard()

    def make():
        raise RuntimeError("import failed")

    run_job(make, *heard.answers())
    qtbot.waitUntil(lambda: heard.ends != [])
    assert heard.ends[0][0] == "error"


def test_finished_comes_after_a_runtime_error(qtbot):
    worker = JobWorker(raising(RuntimeError("as torch's")))
    with qtbot.waitSignals([worker.errored, worker.finished], timeout=5000):
        worker.start()


def test_cancel_closes_the_job(qtbot):
    heard, gate, closed = Heard(), threading.Event(), []
    jobs = Jobs()
    jobs.start(counting(1000, gate, closed), *heard.answers())
    qtbot.waitUntil(lambda: heard.events != [])
    assert jobs.is_running
    jobs.cancel()
    gate.set()
    qtbot.waitUntil(lambda: heard.ends != [])
    assert heard.ends == [("cancelled",)]
    assert closed == [True]
    assert not jobs.is_running
    assert len(heard.events) < 1000


def test_late_answers_are_dropped(qtbot):
    old, new, gate = Heard(), Heard(), threading.Event()
    jobs = Jobs()
    jobs.start(counting(2, gate), *old.answers())
    qtbot.waitUntil(lambda: old.events != [])
    jobs.start(counting(2), *new.answers())
    gate.set()
    qtbot.waitUntil(lambda: new.ends != [])
    qtbot.wait(50)
    assert old.ends == []
    assert new.ends == [("result", 2)]


def test_work_called_directly():
    worker = JobWorker(counting(4))
    assert worker.work() == 4
    worker.quit()
    assert worker.work() is None
