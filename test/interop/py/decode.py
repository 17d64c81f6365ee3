"""A second, independent reader of what our control plane generates: Google's protobuf, with the messages that gRPC publishes.

Reads lines of `<type URL> <base64>` and answers each with a line of JSON: `{"json": …}` as protobuf's own JSON mapping has it, `{"bytes": …}`
the message written again, `{"unknown": […]}` the places of fields that its messages do not have; or `{"foreign": …}`, a packed message that it
does not have at all, or `{"error": …}`.
"""

import base64
import importlib
import json
import pkgutil
import sys

from google.protobuf import json_format, symbol_database, unknown_fields
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError


def import_all(*packages):
    for name in packages:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            if module.name.endswith("_pb2"):
                importlib.import_module(module.name)


class Foreign(Exception):
    pass


def message_class(type_url):
    name = type_url.rpartition("/")[2]
    try:
        return symbol_database.Default().GetSymbol(name)
    except KeyError:
        raise Foreign(name) from None


def unknown_places(message, place):
    """Fields that the message has on the wire and not in its description, in every message inside it, packed ones included."""
    for field in unknown_fields.UnknownFieldSet(message):
        yield f"{place}#{field.field_number}"
    if isinstance(message, Any) and message.type_url:
        inner = message_class(message.type_url).FromString(message.value)
        yield from unknown_places(inner, f"{place}<{inner.DESCRIPTOR.name}>")
        return
    for field, value in message.ListFields():
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            continue
        where = f"{place}.{field.name}"
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                for key, each in value.items():
                    yield from unknown_places(each, f"{where}[{key}]")
        elif field.is_repeated:
            for index, each in enumerate(value):
                yield from unknown_places(each, f"{where}[{index}]")
        else:
            yield from unknown_places(value, where)


def read(line):
    type_url, text = line.split()
    try:
        message = message_class(type_url).FromString(base64.b64decode(text))
        unknown = list(unknown_places(message, message.DESCRIPTOR.name))
        again = base64.b64encode(message.SerializeToString(deterministic=True)).decode()
        return {"json": json_format.MessageToDict(message), "bytes": again, "unknown": unknown}
    except Foreign as missing:
        return {"foreign": str(missing)}
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


import_all("envoy", "xds", "udpa")
for each in sys.stdin:
    print(json.dumps(read(each)), flush=True)
