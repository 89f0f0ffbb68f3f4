"""Where each worker listens, and the command line that passes it on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.workers.spec import ListenSlice, WorkerSpec, split
from support.tables import each_case


@each_case(
    ("addresses", "workers", "slices"),
    [
        (["127.0.0.1:1"], 1, [ListenSlice(("127.0.0.1:1",))]),
        (["127.0.0.1:1", "unix:/a"], 1, [ListenSlice(("127.0.0.1:1", "unix:/a"))]),
        (["127.0.0.1:1"], 3, [ListenSlice(("127.0.0.1:1",), shares_port=True)] * 3),
        (["127.0.0.1:1", "127.0.0.1:2"], 2, [ListenSlice(("127.0.0.1:1",)), ListenSlice(("127.0.0.1:2",))]),
        (["unix:/a", "unix:/b"], 2, [ListenSlice(("unix:/a",)), ListenSlice(("unix:/b",))]),
    ],
)
def test_addresses_are_split_among_workers(addresses, workers, slices):
    assert split(addresses, workers) == slices


@each_case(
    ("addresses", "workers", "message"),
    [
        (["unix:/a"], 2, "2 workers cannot share a Unix socket"),
        (["127.0.0.1:0"], 2, "workers cannot share port 0"),
        (["127.0.0.1:1", "127.0.0.1:2"], 3, "2 addresses for 3 workers: list one for each worker"),
        (["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], 2, "3 addresses for 2 workers"),
    ],
)
def test_addresses_that_cannot_be_split_are_refused(addresses, workers, message):
    with pytest.raises(ValueError, match=message):
        split(addresses, workers)


@given(
    st.builds(
        WorkerSpec,
        number=st.integers(1, 64),
        listen=st.builds(
            ListenSlice, st.lists(st.text(min_size=1), min_size=1).map(tuple), shares_port=st.booleans()
        ),
        control=st.text(),
        lifeline=st.integers(0, 10_000),
    )
)
def test_a_specification_survives_the_command_line(worker):
    assert WorkerSpec.from_json(worker.to_json()) == worker
