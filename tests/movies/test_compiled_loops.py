"""The compiled loops where numba finds no place for its machine code."""

from __future__ import annotations

from napari_cellinterp.movies.compiled_loops import compiled


def test_a_loop_is_compiled_even_where_its_machine_code_cant_be_kept():
    # numba keeps nothing of a function without a file, as of one whose folders are all read-only
    namespace: dict = {}
    exec("def total(n):\n    s = 0\n    for i in range(n):\n        s += i\n    return s", namespace)
    assert compiled(namespace["total"])(5) == 10
