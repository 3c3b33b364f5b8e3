"""Values of `run`'s flags: Docker's grammars as pure functions, each with its errors.

Nothing here touches the disk or the kernel except where a flag names a file to read (--env-file).
Messages are Docker's where Docker has one.
"""
