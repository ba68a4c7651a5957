"""`python -m course_utils.lab.exercises NOTEBOOK [...]`, see `grading`."""

from __future__ import annotations

import sys

from course_utils.lab.exercises.grading import main

if __name__ == "__main__":
    sys.exit(main())
