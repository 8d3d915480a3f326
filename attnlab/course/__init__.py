"""What makes it a course: notebooks from one source, exercises with checks, grading, the doctor.

Import from its modules: `checks` examines answers, `judging` and `grading` award points,
`notebooks` builds the lessons, and `doctor` says what is installed and what is missing.
"""
