//! Settings of a runtime that advice is about: pure.
//!
//! Of an environment the three thread counts of numeric libraries are taken,
//! and only where they are numbers; of a JVM's arguments those that start with
//! `-X` and precede the program, and of these none that names a file or agent.
//! Nothing else leaves the node: environments and arguments hold secrets.

use crate::workload_key::JAVA_VALUE_OPTIONS;

const THREAD_VARIABLES: [&str; 3] = ["MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"];
const MAX_SETTINGS: usize = 32;
const MAX_CHARS: usize = 120;

/// Thread counts in `/proc/PID/environ`: `OMP_NUM_THREADS=4`.
pub fn thread_counts(environ: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = environ
        .split(|&b| b == 0)
        .filter_map(|entry| {
            let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            // `4` or, for nested levels, `4,2`.
            let counts = !value.is_empty()
                && value.len() <= 16
                && value.bytes().all(|b| b.is_ascii_digit() || b == b',');
            (THREAD_VARIABLES.contains(&name) && counts).then(|| format!("{name}={value}"))
        })
        .take(MAX_SETTINGS)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Options of a JVM in `/proc/PID/cmdline`, as `key=value`: `Xmx=2g`,
/// `MaxGCPauseMillis=50`, `UseZGC=true`.
pub fn jvm_options(cmdline: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut arguments = cmdline.split(|&b| b == 0).skip(1).map(std::str::from_utf8);
    while let Some(argument) = arguments.next() {
        let Ok(argument) = argument else { continue };
        if JAVA_VALUE_OPTIONS.contains(&argument) {
            arguments.next();
        } else if !argument.starts_with('-') || argument == "-jar" || found.len() >= MAX_SETTINGS {
            // Behind the program's name stand its own arguments.
            break;
        } else {
            found.extend(argument.strip_prefix("-X").and_then(option));
        }
    }
    found
}

fn option(text: &str) -> Option<String> {
    let plain = |text: &str| {
        text.len() <= MAX_CHARS
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'%' | b'_'))
    };
    let (key, value) = if let Some(option) = text.strip_prefix("X:") {
        match option.split_at_checked(1)? {
            ("+", name) => (name, "true"),
            ("-", name) => (name, "false"),
            _ => option.split_once('=')?,
        }
    } else {
        let size =
            ["mx", "ms", "mn", "ss"].iter().find_map(|key| Some((*key, text.strip_prefix(key)?)));
        let (key, value) = size.unwrap_or((text, "true"));
        return (plain(key) && plain(value) && !key.is_empty()).then(|| format!("X{key}={value}"));
    };
    (plain(key) && plain(value) && !key.is_empty() && !value.is_empty())
        .then(|| format!("{key}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_numbers_of_the_three_variables_are_taken() {
        let environ = b"OMP_NUM_THREADS=4,2\0OPENBLAS_NUM_THREADS=8\0MKL_NUM_THREADS=secret\0OMP_PROC_BIND=1\0PASSWORD=7\0";
        assert_eq!(thread_counts(environ), ["OMP_NUM_THREADS=4,2", "OPENBLAS_NUM_THREADS=8"]);
        assert!(thread_counts(b"").is_empty());
    }

    #[test]
    fn heap_and_collector_are_taken_and_nothing_behind_the_program() {
        let cmdline = b"java\0-Xmx2g\0-cp\0a.jar:b.jar\0-Xms512m\0-Xint\0-XX:+UseZGC\0-XX:-TieredCompilation\0-XX:MaxGCPauseMillis=50\0-Dpassword=x\0-Xlog:gc:/var/log/secret\0-XX:HeapDumpPath=/home/me\0-XX:OnOutOfMemoryError=kill -9 %p\0org.Main\0-Xtoken\0";
        assert_eq!(
            jvm_options(cmdline),
            [
                "Xmx=2g",
                "Xms=512m",
                "Xint=true",
                "UseZGC=true",
                "TieredCompilation=false",
                "MaxGCPauseMillis=50"
            ]
        );
        assert_eq!(jvm_options(b"java\0-Xmx1g\0-jar\0-Xjar\0"), ["Xmx=1g"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), option in "-X{1,2}:?[+-]?.{0,20}") {
            let _ = (thread_counts(&bytes), jvm_options(&bytes));
            let found = jvm_options(format!("java\0{option}\0").as_bytes());
            prop_assert!(found.iter().all(|one| !one.contains('/') && one.contains('=')));
        }
    }
}
