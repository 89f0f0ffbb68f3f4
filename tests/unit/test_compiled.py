"""The source that ``hatch_build.py`` may compile is fit for it; and under ``EXTPROC_COMPILED=1`` that build is what is tested."""

import ast
import importlib
import importlib.util
import os
from pathlib import Path

import pytest

from support.tables import each_case

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
hatch_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hatch_build)
NATIVE = [(module, name) for module, classes in hatch_build.COMPILED.items() for name in classes]


def source(module):
    return (ROOT / "extproc" / f"{module}.py").read_text()


def definition(module, name):
    return next(n for n in ast.parse(source(module)).body if isinstance(n, ast.ClassDef) and n.name == name)


@each_case("module", hatch_build.COMPILED)
def test_what_is_tested_as_compiled_is_compiled(module):
    place = importlib.import_module(f"extproc.{module.replace('/', '.')}").__file__
    assert place.endswith(".py") == (os.environ.get("EXTPROC_COMPILED") != "1")


@each_case(("module", "name"), NATIVE)
def test_a_native_class_is_plain(module, name):
    found = definition(module, name)
    assert found.decorator_list == [], "Cython makes another class of it"
    bases = [ast.unparse(base) for base in found.bases]
    assert all((module, base) in NATIVE for base in bases), "its base is native too, and in the same file"
    methods = {node.name for node in found.body if isinstance(node, ast.FunctionDef)}
    assert methods.isdisjoint({"__del__", "__getattr__", "__getattribute__", "__setattr__", "__new__"})


@each_case(("module", "name"), NATIVE)
def test_every_attribute_of_a_native_class_is_declared(module, name):
    declared = set(hatch_build.attributes(source(module), name))
    for base in definition(module, name).bases:
        declared |= set(hatch_build.attributes(source(module), ast.unparse(base)))
    stored = {
        node.attr
        for node in ast.walk(definition(module, name))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }
    assert stored <= declared


def test_an_attribute_of_the_class_is_refused():
    with pytest.raises(AssertionError, match="attribute of the class"):
        hatch_build.attributes("class A:\n    x = 1\n", "A")


def test_declarations_name_bases_and_attributes():
    written = hatch_build.declarations(
        "class A:\n    def __init__(self):\n        self.x = self._y = 1\n"
        "class B(A):\n    __slots__ = ('z',)\n",
        ("A", "B"),
    )
    assert written.split("\n") == [
        "cdef class A():",
        "    cdef public object x",
        "    cdef public object _y",
        "    cdef object __weakref__",
        "cdef class B(A):",
        "    cdef public object z",
        "",
    ]
