"""Buffers for bulk data."""

import ctypes
import mmap

import pytest

from bundler.support.buffers import page_buffer


@pytest.mark.parametrize("size", [1, mmap.PAGESIZE, (512 << 10) + 1])
def test_a_page_buffer_begins_on_a_page_and_can_be_written(size: int) -> None:
    view = page_buffer(size)
    assert len(view) == size
    assert ctypes.addressof(ctypes.c_char.from_buffer(view)) % mmap.PAGESIZE == 0
    view[-1:] = b"x"
    assert view[size - 1] == ord("x")
