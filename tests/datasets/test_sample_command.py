"""`python -m course_utils.datasets`: bad arguments and places, each one line."""

import pytest

from course_utils.datasets import __main__ as command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "0"], "got '0'; expected a whole number from 1 to 10,000"),
        (["-n", "-3"], "got '-3'"),
        (["-n", "few"], "got 'few'"),
        (["-n", "99999999999"], "got '99999999999'"),
        (["--split", "tests"], "invalid choice: 'tests'"),
        (["--size", "63"], "invalid choice: 63"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([str(tmp_path / "sample"), *arguments])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "sample").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command.main([str(tmp_path / "file" / "sample"), "-n", "1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be written" in error


def test_a_misspelt_profile_does_not_matter(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    assert command.main([str(tmp_path), "-n", "1"]) == 0
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
