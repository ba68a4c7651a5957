"""Write a browsable sample of the Plushies: `python -m course_utils.datasets [FOLDER] [-n 24] [--size 128]`."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from course_utils import runtime
from course_utils.datasets.attributes import NAMES, SPLITS
from course_utils.datasets.captions import describe
from course_utils.datasets.drawing import render
from course_utils.datasets.orders import RESOLUTIONS
from course_utils.datasets.plushies import Plushies

MOST = 10_000  # pictures in a sample: a browser's folder view bears no more


def _number(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number from 1 to {MOST:,}")
    return int(text)


def write_sample(folder: Path, n: int, split: str, size: int) -> None:
    """Pictures, a table of captions and attributes, and a sheet of all pictures. Raises OSError."""
    data = Plushies(n, split)
    pictures = render(data.attributes, data.seeds, size).permute(0, 2, 3, 1).numpy()
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as f:
        table = csv.writer(f)
        table.writerow(["file", "caption", *NAMES])
        for i, picture in enumerate(pictures):
            name = f"pictures/{i:03d}.png"
            Image.fromarray(picture).save(folder / name)
            row = describe(data.attributes[i])
            table.writerow([name, data.caption(i), *(row.get(attribute, "") for attribute in NAMES)])
    columns = min(8, n)
    filled = np.full((-(-n // columns) * columns, *pictures.shape[1:]), 255, dtype=np.uint8)
    filled[:n] = pictures
    rows = filled.reshape(-1, columns, *pictures.shape[1:]).transpose(0, 2, 1, 3, 4)
    sheet = Image.fromarray(rows.reshape(-1, columns * size, 3))
    shown = sheet.width * 128 // size, sheet.height * 128 // size
    sheet.resize(shown, Image.Resampling.NEAREST).save(folder / "plushies.png")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_utils.datasets", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=runtime.data_dir() / "samples")
    parser.add_argument("-n", type=_number, default=24)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--size", type=int, choices=RESOLUTIONS, default=128)
    asked = parser.parse_args(arguments)
    try:
        write_sample(asked.folder, asked.n, asked.split, asked.size)
    except OSError as error:
        print(f"{asked.folder} cannot be written ({error.strerror or error}); give another folder", file=sys.stderr)
        return 1
    print(f"{asked.n} plushies written to {asked.folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
