"""Execution: notebooks through papermill, the jobs behind the command line, the doctor."""
