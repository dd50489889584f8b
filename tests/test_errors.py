"""The table of failures: every one has its sentence, next step, exit code, HTTP status and code."""

from darius import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DariusError)]


def test_exit_codes_are_the_documented_ones() -> None:
    assert {kind.exit_code for kind in KINDS} == {1, 2, 3, 4, 5, 6}
    assert errors.InvalidOption.exit_code == 2
    assert errors.ModelNotFound.exit_code == 3
    assert errors.NoDevice.exit_code == errors.OutOfMemory.exit_code == 4
    assert errors.BadAudio.exit_code == 5
    assert errors.Busy.exit_code == 6


def test_codes_are_distinct_and_statuses_are_failures() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert all(400 <= kind.http_status < 600 for kind in KINDS)


def test_an_error_reads_as_its_sentence_and_its_next_step() -> None:
    error = errors.BadAudio("'x.wav' is silent.", "Choose another loop.")
    assert str(error) == "'x.wav' is silent. Choose another loop."
    assert str(errors.BadAudio("'x.wav' is silent.")) == "'x.wav' is silent."
