//! Which language a program is written in, and which libraries it has loaded.
//!
//! The name of the executable and its mapped files answer most of it; for
//! programs linked statically the executable itself is looked into, once and
//! only its first megabytes. What is not recognised stays NULL.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::procfs::maps::{self, basename};

/// How much of an executable is searched for marks of Go and Rust.
const SEARCH_BYTES: u64 = 4 << 20;

/// A language and, where a path tells it, the version of its runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Language {
    pub name: Option<&'static str>,
    pub runtime_version: Option<String>,
}

/// Runtime libraries, by the start of their file name.
const RUNTIMES: [(&str, &str); 6] = [
    ("libpython", "python"),
    ("libjvm.so", "java"),
    ("libnode.so", "node"),
    ("libruby", "ruby"),
    ("libcoreclr.so", "dotnet"),
    ("libclrjit.so", "dotnet"),
];

/// Libraries that matter for advice, by the start of their file name.
const LIBRARIES: [(&str, &str); 11] = [
    ("libopenblas", "openblas"),
    ("libscipy_openblas", "openblas"),
    ("libmkl", "mkl"),
    ("libblis", "blis"),
    ("libgomp", "libgomp"),
    ("libiomp5", "libiomp"),
    ("libcudart", "cuda"),
    ("libcuda.so", "cuda"),
    ("libcublas", "cublas"),
    ("libjvm.so", "jvm"),
    ("libjemalloc", "jemalloc"),
];

/// By the executable's name, then by what is mapped.
pub fn by_name_and_maps(exe_name: &str, maps: &str) -> Language {
    let stem = exe_name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let name = match stem {
        "python" | "pypy" => Some("python"),
        "java" => Some("java"),
        "node" | "nodejs" => Some("node"),
        "ruby" => Some("ruby"),
        "dotnet" => Some("dotnet"),
        // What runs it, not what it reads: a profiler maps the files of others.
        _ => maps::parse(maps)
            .filter(|map| map.executable)
            .map(|map| basename(map.path))
            .find_map(|file| RUNTIMES.iter().find(|(start, _)| file.starts_with(start)))
            .map(|(_, language)| *language),
    };
    let runtime_version = match name {
        Some("python") => version_after(exe_name, "python").or_else(|| {
            maps::parse(maps).find_map(|map| version_after(basename(map.path), "libpython"))
        }),
        _ => None,
    };
    Language { name, runtime_version }
}

/// `3.11` of `libpython3.11.so.1.0`.
fn version_after(name: &str, prefix: &str) -> Option<String> {
    let rest = name.strip_prefix(prefix)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let version = rest[..end].trim_end_matches('.');
    version.contains('.').then(|| version.to_owned())
}

/// Marks of a compiled program. `C` where it is an ELF file without them is
/// not claimed: C++ and others look the same.
pub fn by_content(exe: &Path) -> Language {
    let mut content = Vec::new();
    let read = File::open(exe).and_then(|file| file.take(SEARCH_BYTES).read_to_end(&mut content));
    if read.is_err() {
        return Language::default();
    }
    in_content(&content)
}

pub(crate) fn in_content(content: &[u8]) -> Language {
    let find = |mark: &[u8]| content.windows(mark.len()).position(|window| window == mark);
    // runtime/debug/buildinfo: this magic precedes the version.
    if find(b"\xff Go buildinf:").is_some() {
        let version = find(b"go1.").and_then(|at| {
            let text = &content[at + 2..(at + 14).min(content.len())];
            let end =
                text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
            let version = std::str::from_utf8(&text[..end]).ok()?.trim_end_matches('.');
            (version.len() > 2).then(|| version.to_owned())
        });
        return Language { name: Some("go"), runtime_version: version };
    }
    // Panic messages of the standard library carry their source path.
    if find(b"/rustc/").is_some() || find(b"library/core/src/").is_some() {
        return Language { name: Some("rust"), runtime_version: None };
    }
    Language::default()
}

/// Libraries that matter, each once, sorted.
pub fn libraries(maps: &str) -> Vec<&'static str> {
    let mut found: Vec<&str> = maps::parse(maps)
        .map(|map| basename(map.path))
        .filter_map(|file| LIBRARIES.iter().find(|(start, _)| file.starts_with(start)))
        .map(|(_, name)| *name)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
7f00-7f10 r-xp 00000000 08:01 1 /usr/lib/libpython3.11.so.1.0
7f10-7f20 r-xp 00000000 08:01 2 /usr/lib/libopenblas-r0.3.so
7f20-7f30 r--p 00000000 08:01 2 /usr/lib/libopenblas-r0.3.so
7f30-7f40 r-xp 00000000 08:01 3 /usr/lib/libgomp.so.1
";

    #[test]
    fn names_and_runtimes_give_the_language() {
        for (exe, maps, name, version) in [
            ("python3.12", "", Some("python"), Some("3.12")),
            ("uwsgi", MAPS, Some("python"), Some("3.11")),
            ("java", "", Some("java"), None),
            ("node", "", Some("node"), None),
            ("postgres", "", None, None),
        ] {
            let found = by_name_and_maps(exe, maps);
            assert_eq!((found.name, found.runtime_version.as_deref()), (name, version), "{exe}");
        }
    }

    #[test]
    fn compiled_programs_are_known_by_their_marks() {
        let go = in_content(b"..\xff Go buildinf:\x08\x02..go1.22.3\0..");
        assert_eq!((go.name, go.runtime_version.as_deref()), (Some("go"), Some("1.22.3")));
        assert_eq!(in_content(b"at /rustc/abc/library").name, Some("rust"));
        assert_eq!(in_content(b"plain"), Language::default());
    }

    #[test]
    fn libraries_are_listed_once() {
        assert_eq!(libraries(MAPS), ["libgomp", "openblas"]);
    }
}
