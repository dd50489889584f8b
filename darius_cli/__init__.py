"""The command line: Typer commands, progress bars, sentences and exit codes. All work is done in `darius`."""
