"""What the command line can say in one line instead of a traceback."""


class CliError(Exception):
    """Something that the user can mend: the message says what was found and what to do."""
