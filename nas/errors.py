"""The one exception that means: what the user gave is wrong."""


class UserError(ValueError):
    """Bad input: a file, a key or a value that the user can mend.

    The message is one line that says where, what is wrong and what would be right. The command line prints it
    on standard error and ends with exit code 2; anything else that is raised is our own fault.
    """
