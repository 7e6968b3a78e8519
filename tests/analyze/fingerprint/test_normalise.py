from __future__ import annotations

import pytest

from energy_orchestrator.analyze.fingerprint.categories import category_of
from energy_orchestrator.analyze.fingerprint.normalise import component, frame_name, stack_names


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ("compress_block.constprop.0 (main)", "compress_block"),
        ("find_match.part.0.isra.0 (main)", "find_match"),
        ("core::slice::sort::merge::h0123456789abcdef (main)", "core::slice::sort::merge"),
        ("main::tally::{{closure}}::h0123456789abcdef (main)", "main::tally::closure"),
        ("<alloc::vec::Vec<T> as core::ops::Drop>::drop (main)", "alloc::vec::Vec::drop"),
        ("void std::sort<Score*, bool (*)(Score const&)>(Score*, Score*) (main)", "std::sort"),
        ("std::__cxx11::basic_string<char>::append(char const*) (libstdc++.so.6)", "std::basic_string::append"),
        ("compress/flate.(*compressor).deflate (main)", "compress/flate.compressor.deflate"),
        ("main.main.func1.2 (main)", "main.main.func"),
        ("runtime.goexit.abi0 (main)", "runtime.goexit"),
        ("boolean java.util.regex.Pattern$Slice.match(int) (jit)", "java.util.regex.Pattern$Slice.match"),
        ("int Main$$Lambda$14/0x00007f.apply(int) (jit)", "Main$.apply"),
        ("__memmove_avx_unaligned_erms (libc.so.6)", "memmove"),
        ("malloc@@GLIBC_2.2.5 (libc.so.6)", "malloc"),
        ("_PyEval_EvalFrameDefault (libpython3.11.so.1.0)", "PyEval_EvalFrameDefault"),
        ("[93ac61ec5a8eb139+0x27249] (libc.so.6)", "?libc"),
        ("[5dc767c02e183bb9+0x3e19] (gzip)", "?"),
        ("[93ac61ec5a8eb139+0x1] (_json.cpython-311-x86_64-linux-gnu.so)", "?_json"),
        ("__x64_sys_read (kernel)", "kernel:x64_sys_read"),
    ],
)  # fmt: skip
def test_a_frame_has_the_name_that_other_builds_give_it(frame: str, name: str) -> None:
    assert frame_name(frame) == name


def test_the_name_of_a_program_is_never_kept() -> None:
    for program in ("gzip", "main", "checkout-service", "node"):
        assert program not in frame_name(f"[0123456789abcdef+0x10] ({program})")
        assert frame_name(f"work ({program})") == "work"


def test_an_interrupt_is_the_machines_and_recursion_counts_once() -> None:
    stack = ("main (main)", "fell (main)", "fell (main)", "asm_sysvec_apic_timer_interrupt (kernel)", "tick (kernel)")
    assert stack_names(stack) == ("main", "fell")


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("v8::internal::JsonParser::ParseJsonValue", "json decoding"),
        ("encoding/json.Unmarshal", "json decoding"),
        ("scan_once_unicode", "json decoding"),
        ("compress/flate.compressor.findMatch", "compression"),
        ("java.util.regex.Pattern$Branch.match", "regex"),
        ("std::sort", "sorting"),
        ("sqlite3VdbeExec", "database"),
        ("runtime.mallocgc", "memory allocation"),
        ("attract", None),
    ],
)
def test_well_known_functions_have_a_category(name: str, category: str | None) -> None:
    assert category_of(name) == category


def test_functions_of_one_package_share_a_component() -> None:
    assert component("compress/flate.compressor.deflate") == component("compress/flate.compressor.write")
    assert component("std::map::insert") == component("std::map::find")
    assert component("sqlite3VdbeExec") == component("sqlite3BtreeNext")
