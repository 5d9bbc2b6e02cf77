"""What a finished run can tell: analyses, their pictures and the report."""
