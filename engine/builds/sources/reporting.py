"""The report of what makes a context big, made from two walks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.context_report import ContextReport, report_context
from builder.errors import BuildInputError
from builder.inputs import read_inputs
from builder.scan import scan_context

if TYPE_CHECKING:
    from builder.request import BuildRequest


def report_of(request: BuildRequest) -> ContextReport:
    """Look at the context of a request: file status alone, no file is opened.

    Raises:
        BuildInputError: there is no context, or it or the ignore file cannot be read.
        BuildEnvironmentError: a directory cannot be read.
    """
    from builder.inputs import ignore_patterns

    inputs = read_inputs(request)
    if inputs.context is None:
        raise BuildInputError("there is no build context", fix="name a directory, or a tar archive")
    patterns = ignore_patterns(inputs)
    whole = scan_context(inputs.context, now_ns=0)
    seen = whole
    if patterns:
        seen = scan_context(
            inputs.context, now_ns=0, ignored=patterns.matches, may_prune=patterns.may_prune
        )
    return report_context(
        request.origin or inputs.context,
        seen.directories,
        whole.directories,
        ignore_name=inputs.ignore_name if inputs.ignore is not None else "",
    )
