"""What well-known functions do, in words that a person reads: the reasons of neighbours come from here.

A small catalogue of our own, by names that the libraries publish. A function that is not in it has no category.
"""

from __future__ import annotations

import re
from functools import lru_cache

CATALOGUE: tuple[tuple[str, str], ...] = (
    ("json decoding", r"json.*(pars|decod|unmarshal|scan|load|read)|scan_once|scanstring|jsonparser|raw_decode"
     r"|jvp_|jv_parse"),
    ("json encoding", r"json.*(stringif|encod|marshal|dump|writ|serializ)|encoder_listencode"),
    ("compression", r"deflate|longest_match|zlib|flate|lzma|lzms|bz2|huff(man)?|zstd|^lz4|brotli|snappy"
     r"|compress_block"),
    ("regex", r"regex|regexp|^re_search|^sre_|pcre|irregexp|java\.util\.regex|^re_\w+|_matcher|dfaexec|kwsexec"),
    ("hashing and crypto", r"sha\d+|md5|blake2|aes_|aesni|evp_|hmac|crypto|bn_mul|cipher|openssl|chacha|digest"),
    ("sorting", r"sort|timsort|introsort|countruns|mergehi|mergelo|pivot|strcoll"),
    ("database", r"^sqlite3|vdbe|btree|innodb|heap_getnext|execscan"),
    ("memory allocation", r"(^|_|::)(malloc|calloc|realloc|free|cfree|obmalloc)|int_malloc|int_free|mallocgc"
     r"|new_alloc|operator new|allocate"),
    ("garbage collection", r"gcbgmark|scanobject|gcdrain|markcompact|scaveng|gc_collect"
     r"|deduce_unreachable|(^|::)g1[a-z]|sweep|collect_main|greyobject"),
    ("copying and comparing memory", r"^mem(move|cpy|cmp|set)|^str(cmp|len|chr|cpy)"),
    ("floating point", r"strtod|dtoa|^(exp|log|pow|sin|cos|sqrt)f?(_fma)?$|ieee754"),
    ("linear algebra", r"gemm|gemv|blas|lapack|matmul|multiply_matri"),
    ("hash tables", r"hashmap|hash_map|hashbrown|unordered_map|dict_lookup|insertdict|mapassign|mapaccess|unicodekeys"),
    ("big integers", r"^long_(mul|divrem|pow|rem)|k_mul|x_mul|x_divrem|bc_multiply|bigint|x_sub|x_add"),
    ("interpreter", r"pyeval_evalframe|interpreterentry|^perl_run|bytecode|^Interpreter$"),
    ("kernel: network", r"^kernel:(tcp|udp|ip|inet|sock|net|dev_queue|skb)"),
    ("kernel: files and pipes", r"^kernel:(vfs|ksys_(read|write)|ext4|pipe|anon_pipe|generic_perform|filemap)"),
    ("kernel: memory", r"^kernel:(do_anonymous_page|handle_mm_fault|exc_page_fault|clear_page"
     r"|do_user_addr_fault|zap_|unmap)"),
    ("waiting", r"^kernel:(futex|do_epoll|schedule|poll|do_nanosleep)|cond_wait|futex|epoll_wait|park"),
)  # fmt: skip
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in CATALOGUE)


@lru_cache(maxsize=200_000)
def category_of(name: str) -> str | None:
    """The first category of a normalised name, or None."""
    return next((category for category, pattern in _COMPILED if pattern.search(name)), None)
