"""The conversion's own process: whatever becomes of it, its caller gets an answer."""

import os
import sys

import pytest

from darius.convert import process
from darius.convert import v1 as v1_module
from darius.errors import (
    DariusError,
    InvalidOption,
)

SAY = "import sys, json, os, signal\nsay = lambda **m: print(json.dumps(m), flush=True)\n"


def script(body):
    return [sys.executable, "-c", SAY + body]


def test_a_worker_that_dies_says_where_and_what_it_said_last():
    with pytest.raises(process.WorkerDiedError) as caught:
        process.run(script("say(progress=['text', 0.5]); sys.stderr.write('all is lost\\n'); sys.exit(3)"), print)
    failure = caught.value.failure()
    assert "status 3 at the stage `text`" in failure.message and "all is lost" in failure.hint


def test_a_worker_that_is_killed_is_named_by_its_signal():
    with pytest.raises(process.WorkerDiedError) as caught:
        process.run(script("say(progress=['codec', 0.1]); os.kill(os.getpid(), signal.SIGKILL)"), print)
    assert "SIGKILL at the stage `codec`" in caught.value.failure().message


def test_a_workers_error_is_raised_as_it_was():
    with pytest.raises(InvalidOption, match="Too loud") as caught:
        process.run(script("say(error=['InvalidOption', 'Too loud.', 'Turn it down.'])"), print)
    assert caught.value.hint == "Turn it down."


def test_a_worker_is_gone_once_it_has_answered():
    answer = process.run(script("say(result={'pid': os.getpid()}); import time; time.sleep(60)"), print)
    with pytest.raises(ProcessLookupError):
        os.kill(answer["pid"], 0)


def test_a_tower_at_which_the_converter_crashes_stays_a_saved_model():
    def crash_at_text(job):
        body = "say(progress=['text', 0.5]); os.kill(os.getpid(), signal.SIGSEGV)"
        return script(f"say(result={{'keep': {job['keep']}}})" if "text" in job["keep"] else body)

    assert v1_module.convert_in_worker({}, lambda *_: None, command=crash_at_text) == {"keep": ["text"]}


def test_a_crash_elsewhere_is_a_failure():
    def crash(job):
        return script("say(progress=['codec', 0.1]); os.kill(os.getpid(), signal.SIGSEGV)")

    with pytest.raises(DariusError, match="SIGSEGV at the stage `codec`"):
        v1_module.convert_in_worker({}, lambda *_: None, command=crash)
