"""Envoy configurations are rendered in half of the time: dozens of tests render one."""

import functools

import pydantic_core
from betterproto2 import Message


def build_once_for_a_class():
    """Let betterproto2 build a class's validator and type hints once: it builds them anew for each message."""
    validator = functools.cache(lambda cls: pydantic_core.SchemaValidator(cls.__pydantic_core_schema__))

    def validate(message):
        fields = {name: value for name, value in vars(message).items() if name != "_unknown_fields"}
        validator(type(message)).validate_python(fields)

    Message._validate = validate
    Message._type_hints = classmethod(functools.cache(Message._type_hints.__func__))
