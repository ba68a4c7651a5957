"""`python -m course_utils.datasets`: a sample that can be browsed; bad arguments and places, each one line."""

import pytest
from PIL import Image

from course_utils.datasets import __main__ as command


@pytest.mark.parametrize(("size", "side"), [([], 128), (["--size", "64"], 64)])
def test_a_browsable_sample_is_written(tmp_path, size, side):
    assert command.main([str(tmp_path), "-n", "5", *size]) == 0
    assert len((tmp_path / "captions.csv").read_text(encoding="utf-8").splitlines()) == 6
    sizes = []
    for path in (*(tmp_path / "pictures").glob("*.png"), tmp_path / "plushies.png"):
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes == [(side, side)] * 5 + [(5 * 128, 128)], "the sheet shows pictures of any size at 128 pixels"


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
