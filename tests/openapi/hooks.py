"""What the document cannot say of valid requests: they are made so, and left alone where the request is to be wrong."""

import os
import uuid

import schemathesis
from hypothesis.strategies._internal.recursive import LimitedStrategy

# Its description reads the source of lambdas, which CPython 3.11 fails to parse so deep in the stack.
LimitedStrategy.__repr__ = object.__repr__

# Who asks: an administrator who is made a customer would be refused from then on.
SELF = os.environ.get("FUZZ_USER_ID")


def rounded(value):
    """Money has at most two decimals, which no keyword of JSON Schema says of floats without their errors."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return value


def existing(body):
    """About half of the ids are of things that are there, so that more is tried than refusals."""
    for line in body["items"] if isinstance(body.get("items"), list) else []:
        if isinstance(line, dict) and str(line.get("product_id"))[:1] in set("01234567"):
            line["product_id"] = os.environ["FUZZ_PRODUCT_ID"]
    if str(body.get("order_id"))[:1] in set("01234567"):
        body["order_id"] = os.environ["FUZZ_ORDER_ID"]
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    if SELF is not None and SELF in str((case.path_parameters or {}).get("id")):
        case.path_parameters["id"] = str(uuid.uuid4())


@schemathesis.hook
def map_case(context, case):
    if case.meta is None or case.meta.generation.mode.value != "positive":
        return case
    if isinstance(case.query, dict):
        # A cursor is one that a list gave out; any other is refused by name.
        case.query.pop("cursor", None)
        case.query.update(rounded(case.query))
    if isinstance(case.body, dict):
        case.body = existing(rounded(case.body))
    return case
