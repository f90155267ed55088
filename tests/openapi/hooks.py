"""What the document cannot say of valid requests: they are made so, and left alone where the request is to be wrong."""

import sys

import schemathesis

# CPython 3.11 fails when it parses the source of a lambda (for a description of it) deep in the stack.
sys.setrecursionlimit(20_000)


def rounded(value):
    """Money has at most two decimals, which no keyword of JSON Schema says of floats without their errors."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return value


@schemathesis.hook
def map_case(context, case):
    if case.meta is None or case.meta.generation.mode.value != "positive":
        return case
    if isinstance(case.query, dict):
        # A cursor is one that a list gave out; any other is refused by name.
        case.query.pop("cursor", None)
        case.query.update(rounded(case.query))
    if isinstance(case.body, dict):
        case.body = rounded(case.body)
    return case
