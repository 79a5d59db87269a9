"""Failures that can be foreseen, and what the command line says of them."""

from optuna.exceptions import StorageInternalError

from nas.model.ranking import DivergedError


def known(error: Exception) -> tuple[str, int]:
    """Return line ("": all is said) and exit code of a failure that is foreseen; raise any other again."""
    # Typer's own complaints about the command line: a misspelt option, a missing argument.
    message = getattr(error, "format_message", None)
    if message is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "nas"
        # Empty where no command was given: the help is shown already, and says it all.
        words = " ".join(message().split()).removesuffix(".")
        return (f"{words}; try `{command} --help`" if words else ""), 2
    if isinstance(error, DivergedError):
        return one_line(error), 1
    if any(words in str(error) for words in ("No space left", "disk is full")):
        return f"{one_line(error)[:200]}; what is finished is kept, make room and run again to go on", 1
    if isinstance(error, StorageInternalError):
        cause = one_line(error.__cause__ or error)[:200]
        return f"the study's database failed ({cause}); what is finished is kept, run again to go on", 1
    raise error


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split())
