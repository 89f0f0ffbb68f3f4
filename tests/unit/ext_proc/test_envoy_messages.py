"""Our cut of Envoy's API is wire compatible with the API as envoy-data-plane publishes it."""

import dataclasses
import importlib
import inspect

from google.protobuf.descriptor import FieldDescriptor

from extproc.ext_proc.envoy import base_pb2, external_processor_pb2, http_status_pb2, processing_mode_pb2
from support.tables import each_case

FILES = [base_pb2, external_processor_pb2, http_status_pb2, processing_mode_pb2]
TYPES = {
    number: name[5:].lower() for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")
}


# No message has another inside it, but for the entries of maps.
MESSAGES = [message for file in FILES for message in file.DESCRIPTOR.message_types_by_name.values()]
ENUMERATIONS = [enumeration for message in MESSAGES for enumeration in message.enum_types]


def published(descriptor):
    """The class or enumeration of envoy-data-plane; nested names are written together there."""
    module = importlib.import_module(f"envoy_data_plane.{descriptor.file.package}")
    return getattr(module, descriptor.full_name.removeprefix(descriptor.file.package).replace(".", ""))


def is_same_on_the_wire(ours, theirs):
    return ours == theirs or (ours, theirs) == ("int32", "enum")


@each_case("message", MESSAGES, ids=lambda message: message.full_name)
def test_each_field_has_the_number_and_the_type_of_envoys_api(message):
    hints = inspect.get_annotations(published(message))
    fields = {field.metadata["betterproto"].number: field for field in dataclasses.fields(published(message))}
    assert message.fields
    for ours in message.fields:
        theirs = fields[ours.number]
        wire = theirs.metadata["betterproto"]
        assert theirs.name == ours.name
        assert (wire.group or None) == (ours.containing_oneof.name if ours.containing_oneof else None)
        if ours.message_type is not None and ours.message_type.GetOptions().map_entry:
            assert wire.proto_type == "map"
            assert [part.proto_type for part in wire.map_meta] == [
                TYPES[field.type] for field in ours.message_type.fields
            ]
            continue
        assert is_same_on_the_wire(TYPES[ours.type], wire.proto_type), ours.full_name
        assert wire.repeated == ours.is_repeated
        inner = ours.message_type or ours.enum_type
        if inner is not None and wire.unwrap is None:
            assert inner.name in str(hints[ours.name]).replace(".", " "), ours.full_name


@each_case("enumeration", ENUMERATIONS, ids=lambda enumeration: enumeration.full_name)
def test_each_enumeration_has_the_values_of_envoys_api(enumeration):
    assert {value.name: value.number for value in enumeration.values} == {
        member.name: member.value for member in published(enumeration)
    }


def test_the_service_has_the_name_that_envoy_calls():
    (service,) = external_processor_pb2.DESCRIPTOR.services_by_name.values()
    (method,) = service.methods
    assert f"/{service.full_name}/{method.name}" == "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
    assert method.client_streaming
    assert method.server_streaming
    assert method.input_type.full_name == "envoy.service.ext_proc.v3.ProcessingRequest"
    assert method.output_type.full_name == "envoy.service.ext_proc.v3.ProcessingResponse"
