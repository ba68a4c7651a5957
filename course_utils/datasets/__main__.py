"""Write a browsable sample of the Plushies: `python -m course_utils.datasets [FOLDER] [-n 24] [--size 64]`."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from course_utils import runtime
from course_utils.datasets.attributes import NAMES
from course_utils.datasets.captions import describe
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_utils.datasets", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=runtime.data_dir() / "samples")
    parser.add_argument("-n", type=int, default=24)
    parser.add_argument("--split", default="test")
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args(arguments)
    data = Plushies(asked.n, asked.split)
    pictures = render(data.attributes, data.seeds, asked.size).permute(0, 2, 3, 1).numpy()
    (asked.folder / "pictures").mkdir(parents=True, exist_ok=True)
    with open(asked.folder / "captions.csv", "w", newline="", encoding="utf-8") as f:
        table = csv.writer(f)
        table.writerow(["file", "caption", *NAMES])
        for i, picture in enumerate(pictures):
            name = f"pictures/{i:03d}.png"
            Image.fromarray(picture).save(asked.folder / name)
            row = describe(data.attributes[i])
            table.writerow([name, data.caption(i), *(row.get(attribute, "") for attribute in NAMES)])
    columns = min(8, asked.n)
    filled = np.full((-(-asked.n // columns) * columns, *pictures.shape[1:]), 255, dtype=np.uint8)
    filled[: asked.n] = pictures
    rows = filled.reshape(-1, columns, *pictures.shape[1:]).transpose(0, 2, 1, 3, 4)
    sheet = Image.fromarray(rows.reshape(-1, columns * asked.size, 3))
    sheet.resize((sheet.width * 128 // asked.size, sheet.height * 128 // asked.size), Image.Resampling.NEAREST).save(
        asked.folder / "plushies.png"
    )
    print(f"{asked.n} plushies written to {asked.folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
