"""What makes it a course: notebooks built from one source, and the doctor."""
