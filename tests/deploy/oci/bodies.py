"""Judges recorded requests by the models of OCI's own SDK: does the operation exist, and does its body have only fields that
are known, of the right type, with allowed values, and all that are required? The CLI itself looks at none of that.

python3 bodies.py REQUESTS, where each line is {"method", "path", "body"}. Prints what is wrong, and exits 1 if anything is.
"""

import importlib
import json
import re
import sys
from pathlib import Path

import oci

SERVICES = ["autoscaling", "core", "identity", "load_balancer", "object_storage", "psql", "redis", "secrets", "vault"]
SCALARS = {"str": str, "int": int, "float": (int, float), "bool": bool, "object": object, "datetime": str}


def operations():
    """Yields (method, pattern of the path, models, name of the body's model or None) of every operation of the services."""
    for service in SERVICES:
        models = importlib.import_module(f"oci.{service}.models")
        for client in Path(oci.__file__).parent.joinpath(service).glob("*_client.py"):
            source = client.read_text()
            base = re.search(r"'base_path': '([^']*)'", source)[1].rstrip("/")
            for function in re.split(r"\n    def ", source)[1:]:
                path = re.search(r'resource_path = "([^"]*)"', function)
                method = re.search(r'method = "([A-Z]+)"', function)
                if not path or not method:
                    continue
                pattern = base + re.sub(r"\{objectName\}", ".+", path[1])
                pattern = re.sub(r"\{\w+\}", "[^/]+", pattern).rstrip("/")
                body = re.search(r"\bbody=(\w+)", function)
                model = body and re.search(rf":param oci\.\w+\.models\.(\w+) {body[1]}:", function)
                yield method[1], re.compile(pattern), models, model and model[1]


def required(model):
    """The attributes that the model's documentation calls required, inherited ones included."""
    for parent in model.__mro__:
        for name, member in vars(parent).items():
            if isinstance(member, property) and "**[Required]**" in (member.fget.__doc__ or ""):
                yield name


def allowed(model, attribute):
    """The values of an enumeration, which are constants of the model; empty if it is none."""
    prefix = attribute.upper() + "_"
    # CONTENT_TYPE_BASE64 is a value of content_type, not of content.
    longer = tuple(other.upper() + "_" for other in model().swagger_types if other.startswith(attribute + "_"))
    constants = (item for parent in model.__mro__ for item in vars(parent).items())
    return {
        value for name, value in constants if name.startswith(prefix) and not name.startswith(longer) and isinstance(value, str)
    }


def faults(value, kind, models, where):
    """Yields what is wrong with a value that should be of this kind."""
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for index, one in enumerate(value):
            yield from faults(one, inner[1], models, f"{where}[{index}]")
    elif inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        for key, one in value.items():
            yield from faults(one, inner[1], models, f"{where}.{key}")
    elif kind in SCALARS:
        if not isinstance(value, SCALARS[kind]) or (kind in ("int", "float") and isinstance(value, bool)):
            yield f"{where} is {value!r}, not {kind}"
    elif not isinstance(value, dict):
        yield f"{where} is no object"
    else:
        yield from model_faults(value, getattr(models, kind), models, where)


def model_faults(value, model, models, where):
    if hasattr(model, "get_subtype"):
        try:
            subtype = getattr(models, model.get_subtype(value))
        except KeyError as missing:
            yield f"{where} does not say which {model.__name__} it is: {missing} is missing"
            return
        if subtype is model and model.__subclasses__():
            yield f"{where} is no {model.__name__} that there is"
        model = subtype
    empty = model()
    attributes = {name: attribute for attribute, name in empty.attribute_map.items()}
    for name, one in value.items():
        if name not in attributes:
            yield f"{where}.{name}: {model.__name__} has no such field"
            continue
        attribute = attributes[name]
        yield from faults(one, empty.swagger_types[attribute], models, f"{where}.{name}")
        values = allowed(model, attribute)
        if values and isinstance(one, str) and one not in values:
            yield f"{where}.{name} is {one!r}, not one of {sorted(values)}"
    for attribute in required(model):
        if empty.attribute_map.get(attribute, attribute) not in value:
            yield f"{where}.{empty.attribute_map.get(attribute, attribute)} is missing"


def main():
    known = list(operations())
    wrong = bodies = 0
    for line in Path(sys.argv[1]).read_text().splitlines():
        request = json.loads(line)
        method, path, body = request["method"], request["path"].rstrip("/"), request["body"]
        matching = [(models, model) for verb, pattern, models, model in known if verb == method and pattern.fullmatch(path)]
        if not matching:
            found = ["there is no such operation"]
        elif all(model is None for _, model in matching):
            found = []
        else:
            bodies += 1
            # Paths such as /n/{namespace} belong to more than one operation; one that takes this body is enough.
            judged = [list(faults(body, model, models, "body")) for models, model in matching if model]
            found = min(judged, key=len)
        for fault in found:
            wrong += 1
            print(f"{method} {path}: {fault}")
    print(f"{bodies} bodies judged")
    sys.exit(1 if wrong else 0)


main()
