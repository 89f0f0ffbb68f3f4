"""Unit tests never touch the network."""

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def no_network():
    pytest_socket.disable_socket(allow_unix_socket=True)  # event loops wake themselves over a socket pair
    yield
    pytest_socket.enable_socket()
