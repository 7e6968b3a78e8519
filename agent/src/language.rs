//! Which language a program is written in, and which libraries it has loaded.
//!
//! The name of the executable and its mapped files answer most of it; for
//! programs linked statically the executable itself is looked into, once and
//! only its first megabytes. What is not recognised stays NULL.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use crate::dotnet_bundle;
use crate::elf_headers::ElfHeaders;
use crate::procfs::maps::{self, basename};

/// How much of an executable is searched for marks of Go and Rust.
const SEARCH_BYTES: u64 = 4 << 20;
/// Larger than any build information or list of compilers.
const MAX_SECTION_BYTES: u64 = 4 << 20;
const MAX_RELEASE_BYTES: u64 = 16 << 10;
/// node's executable has some 100 MB, its version in the first half.
const NODE_SEARCH_BYTES: u64 = 64 << 20;
const PIECE_BYTES: usize = 256 << 10;
const MAX_VERSION_BYTES: usize = 20;

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
const LIBRARIES: [(&str, &str); 17] = [
    ("libopenblas", "openblas"),
    ("libscipy_openblas", "openblas"),
    ("libmkl", "mkl"),
    ("libblis", "blis"),
    ("libgomp", "libgomp"),
    ("libiomp5", "libiomp"),
    ("libcudart", "cuda"),
    ("libcuda.so", "cuda"),
    ("libcublas", "cublas"),
    ("libcudnn", "cudnn"),
    ("libnccl", "nccl"),
    ("libamdhip64", "hip"),
    ("libblas.so", "blas"),
    ("libomp.so", "libomp"),
    ("libtcmalloc", "tcmalloc"),
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
        "dotnet" | "mono" | "mono-sgen" => Some("dotnet"),
        // What runs it, not what it reads: a profiler maps the files of others.
        _ => maps::parse(maps)
            .filter(|map| map.executable)
            .map(|map| basename(map.path))
            .find_map(|file| RUNTIMES.iter().find(|(start, _)| file.starts_with(start)))
            .map(|(_, language)| *language),
    };
    let mapped =
        |prefix: &str| maps::parse(maps).find_map(|map| version_after(basename(map.path), prefix));
    let runtime_version = match name {
        Some("python") if stem.starts_with("pypy") => version_after(exe_name, "pypy")
            .or_else(|| mapped("libpypy"))
            .map(|version| format!("pypy {version}")),
        Some("python") => version_after(exe_name, "python").or_else(|| mapped("libpython")),
        // libruby-3.1.so.3.1 of Debian, libruby.so.3.1 of others.
        Some("ruby") => mapped("libruby-").or_else(|| mapped("libruby.so.")),
        // .../Microsoft.NETCore.App/8.0.1/libcoreclr.so
        Some("dotnet") => maps::parse(maps).find_map(|map| {
            let (directory, file) = map.path.rsplit_once('/')?;
            RUNTIMES.iter().find(|(start, name)| *name == "dotnet" && file.starts_with(start))?;
            digits(basename(directory).as_bytes())
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

/// Marks of a compiled program.
pub fn by_content(exe: &Path) -> Language {
    let sections = File::open(exe).ok().and_then(|file| {
        let elf = ElfHeaders::read(&file)?;
        let section = |name: &str| elf.section(name)?.read(&file, MAX_SECTION_BYTES);
        let (go, comment) = (section(".go.buildinfo"), section(".comment"));
        let found = in_sections(go.as_deref(), comment.as_deref());
        if found.name.is_none_or(|name| name == "c") {
            if let Some(data) = section(".data").filter(|data| dotnet_bundle::is_host(data)) {
                let runtime_version = dotnet_bundle::version(&data);
                return Some(Language { name: Some("dotnet"), runtime_version });
            }
        }
        Some(found)
    });
    match sections {
        Some(Language { name: None | Some("c"), .. }) | None => {}
        Some(found) => return found,
    }
    let mut content = Vec::with_capacity(SEARCH_BYTES as usize);
    let read = File::open(exe).and_then(|file| file.take(SEARCH_BYTES).read_to_end(&mut content));
    let found = if read.is_ok() { in_content(&content) } else { Language::default() };
    match (found.name, sections) {
        // Who compiled it stands in the sections alone.
        (Some("cpp"), Some(compiled)) => Language { name: found.name, ..compiled },
        (Some(_), _) | (None, None) => found,
        (None, Some(compiled)) => compiled,
    }
}

/// The sections that a linker leaves: Go's build information, and who compiled it (pure).
pub fn in_sections(go_buildinfo: Option<&[u8]>, comment: Option<&[u8]>) -> Language {
    if let Some(info) = go_buildinfo.filter(|info| find(info, b"\xff Go buildinf:").is_some()) {
        let version = find(info, b"go1.").and_then(|at| digits(&info[at + 2..]));
        return Language { name: Some("go"), runtime_version: version };
    }
    let comment = comment.unwrap_or_default();
    if let Some(at) = find(comment, b"rustc version ") {
        let version = digits(&comment[at + b"rustc version ".len()..]);
        return Language { name: Some("rust"), runtime_version: version };
    }
    match compiler(comment) {
        Some(runtime_version) => Language { name: Some("c"), runtime_version },
        None => Language::default(),
    }
}

/// `gcc 12.2.0` or `clang 14.0.6`; the outer None where no compiler of C is
/// named. A linked program names several, those of its start-up code too: the
/// last one is what the linker met last, hence clang's own before GCC's.
fn compiler(comment: &[u8]) -> Option<Option<String>> {
    let entries = comment.split(|b| *b == 0);
    let clang = entries.clone().find_map(|entry| {
        let at = find(entry, b"clang version ")? + b"clang version ".len();
        Some(digits(&entry[at..]).map(|version| format!("clang {version}")))
    });
    clang.or_else(|| {
        // `GCC: (Debian 12.2.0-14+deb12u1) 12.2.0`
        let entry = entries.rev().find(|entry| entry.starts_with(b"GCC: ("))?;
        let at = entry.iter().rposition(|b| *b == b')')? + 1;
        Some(digits(entry[at..].trim_ascii_start()).map(|version| format!("gcc {version}")))
    })
}

pub(crate) fn in_content(content: &[u8]) -> Language {
    // runtime/debug/buildinfo: this magic precedes the version.
    if find(content, b"\xff Go buildinf:").is_some() {
        let version = find(content, b"go1.").and_then(|at| digits(&content[at + 2..]));
        return Language { name: Some("go"), runtime_version: version };
    }
    // Panic messages of the standard library carry their source path.
    if find(content, b"/rustc/").or_else(|| find(content, b"library/core/src/")).is_some() {
        return Language { name: Some("rust"), runtime_version: None };
    }
    // The name of std::exception's type information: C++ linked statically.
    if find(content, b"\0St9exception\0").is_some() {
        return Language { name: Some("cpp"), runtime_version: None };
    }
    Language::default()
}

fn find(content: &[u8], mark: &[u8]) -> Option<usize> {
    memchr::memmem::find(content, mark)
}

/// `1.22.3` at the start of a text; at least one dot.
fn digits(text: &[u8]) -> Option<String> {
    let text = &text[..text.len().min(MAX_VERSION_BYTES)];
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
    let version = std::str::from_utf8(&text[..end]).ok()?.trim_matches('.');
    version.contains('.').then(|| version.to_owned())
}

/// Version of a runtime that only its own files tell: `release` beside a JVM's
/// `bin`, the address of node's source in its executable. `root` is the
/// process' root directory, `exe` the path of its executable there.
pub fn version_in_files(
    language: &str,
    root: &Path,
    exe: &Path,
    exe_file: &Path,
) -> Option<String> {
    match language {
        "java" => {
            let home = exe.parent()?.parent()?.strip_prefix("/").ok()?;
            // A path with `..` could lead out of the root.
            let plain = home.components().all(|part| matches!(part, Component::Normal(_)));
            let file = File::open(plain.then(|| root.join(home).join("release"))?).ok()?;
            let mut text = String::new();
            file.take(MAX_RELEASE_BYTES).read_to_string(&mut text).ok()?;
            java_release(&text)
        }
        "node" => node_release(File::open(exe_file).ok()?.take(NODE_SEARCH_BYTES), PIECE_BYTES),
        _ => None,
    }
}

/// `17.0.15` of `JAVA_VERSION="17.0.15"`.
pub fn java_release(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let value = value.trim().trim_matches('"');
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-');
    (!value.is_empty() && value.len() <= 32 && value.bytes().all(plain)).then(|| value.to_owned())
}

/// Looks through node's executable a piece at a time: it is larger than all else that the agent holds.
pub(crate) fn node_release(mut content: impl Read, piece_bytes: usize) -> Option<String> {
    const MARK: &[u8] = b"nodejs.org/download/release/v";
    let mut piece = Vec::new();
    loop {
        let read = content.by_ref().take(piece_bytes as u64).read_to_end(&mut piece).ok()?;
        // Near its end the version may be cut off; then it stands whole in the next piece.
        let enough = |at: &usize| read == 0 || piece.len() - at >= MARK.len() + MAX_VERSION_BYTES;
        if let Some(at) = find(&piece, MARK).filter(enough) {
            return digits(&piece[at + MARK.len()..]);
        }
        if read == 0 {
            return None;
        }
        let keep = piece.len().min(MARK.len() + MAX_VERSION_BYTES);
        piece.drain(..piece.len() - keep);
    }
}

/// Whether the C++ library is loaded.
pub fn uses_cpp(maps: &str) -> bool {
    maps::parse(maps)
        .map(|map| basename(map.path))
        .any(|file| file.starts_with("libstdc++.so") || file.starts_with("libc++.so"))
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
            ("mono-sgen", "", Some("dotnet"), None),
            ("pypy3.10", "", Some("python"), Some("pypy 3.10")),
            (
                "pypy3",
                "0-1 r-xp 0 0 1 /opt/lib/libpypy3.10-c.so\n",
                Some("python"),
                Some("pypy 3.10"),
            ),
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
        let rust = in_sections(None, Some(b"GCC: (Debian) 12\0rustc version 1.75.0 (82e1608df)\0"));
        assert_eq!((rust.name, rust.runtime_version.as_deref()), (Some("rust"), Some("1.75.0")));
        let go = in_sections(Some(b"\xff Go buildinf:\x08\x02\0\0\x08go1.23.0\x10path"), None);
        assert_eq!((go.name, go.runtime_version.as_deref()), (Some("go"), Some("1.23.0")));
        for (comment, version) in [
            (&b"GCC: (GNU) 8.5.0\0"[..], Some("gcc 8.5.0")),
            (b"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0\0", Some("gcc 12.2.0")),
            (
                b"GCC: (Debian 12.2.0-14) 12.2.0\0Debian clang version 14.0.6\0",
                Some("clang 14.0.6"),
            ),
            (b"GCC: (odd", None),
        ] {
            let found = in_sections(None, Some(comment));
            let name = comment.ends_with(b"\0").then_some("c");
            assert_eq!((found.name, found.runtime_version.as_deref()), (name, version));
        }
        assert_eq!(in_content(b"..\0St9exception\0..").name, Some("cpp"));
        assert_eq!(in_sections(None, None), Language::default());
    }

    #[test]
    fn this_test_is_known_as_rust() {
        let found = by_content(&std::env::current_exe().unwrap());
        assert_eq!(found.name, Some("rust"));
        assert!(found.runtime_version.unwrap().starts_with("1."));
        assert_eq!(by_content(Path::new("/nonexistent")), Language::default());
    }

    #[test]
    fn versions_stand_in_paths_and_files() {
        let maps =
            "0-1 r-xp 0 0 1 /usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so\n";
        assert_eq!(by_name_and_maps("dotnet", maps).runtime_version.as_deref(), Some("8.0.1"));
        let maps = "0-1 r-xp 0 0 1 /usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2\n";
        assert_eq!(by_name_and_maps("ruby", maps).runtime_version.as_deref(), Some("3.1"));
        assert_eq!(
            java_release("LIBC=\"gnu\"\nJAVA_VERSION=\"17.0.15\"\n").as_deref(),
            Some("17.0.15")
        );
        assert_eq!(java_release("JAVA_VERSION=\"a b\"\n"), None);
        let content = b"https://nodejs.org/download/release/v20.20.2/node-v20.20.2.tar.gz";
        for piece_bytes in [1, 7, 60, 64, 4096] {
            let found = node_release(&content[..], piece_bytes);
            assert_eq!(found.as_deref(), Some("20.20.2"), "in pieces of {piece_bytes}");
        }
        assert_eq!(node_release(&b"nodejs.org/download/release/"[..], 8), None);

        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("opt/jdk");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("release"), "JAVA_VERSION=\"21\"\n").unwrap();
        let version =
            |exe: &str| version_in_files("java", root.path(), Path::new(exe), Path::new("x"));
        assert_eq!(version("/opt/jdk/bin/java").as_deref(), Some("21"));
        assert_eq!(version("/opt/../opt/jdk/bin/java"), None);
        assert_eq!(version("/usr/bin/java"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,100}") {
            let _ = (in_sections(Some(&bytes), Some(&bytes)), in_content(&bytes), node_release(&bytes[..], 16));
            let _ = (java_release(&text), by_name_and_maps("ruby", &text));
        }
    }

    #[test]
    fn libraries_are_listed_once() {
        assert_eq!(libraries(MAPS), ["libgomp", "openblas"]);
    }
}
