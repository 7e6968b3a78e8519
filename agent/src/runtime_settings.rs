//! Settings of a runtime that advice is about: pure.
//!
//! Of an environment the thread counts of numeric libraries and runtimes are
//! taken, and only where they are numbers; of a JVM's options those that start
//! with `-X`, and of these none that names a file or agent. A JVM gets its
//! options from five places; the later one wins (`jvm_options`). Nothing else
//! leaves the node: environments, arguments and argument files hold secrets.

use std::borrow::Cow;

use crate::workload_key::JAVA_VALUE_OPTIONS;

/// How many threads a library or runtime uses. (VECLIB is macOS' alone.)
const THREAD_VARIABLES: [&str; 8] = [
    "BLIS_NUM_THREADS",
    "GOMAXPROCS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
];
const MAX_SETTINGS: usize = 32;
const MAX_CHARS: usize = 120;
/// Of one list of options; the launcher itself has no limit.
const MAX_OPTIONS: usize = 1024;
const MAX_ARGUMENT_FILES: usize = 8;

/// Thread counts in `/proc/PID/environ`: `OMP_NUM_THREADS=4`.
pub fn thread_counts(environ: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = THREAD_VARIABLES
        .iter()
        .filter_map(|name| {
            let value = variable(environ, name)?;
            // `4` or, for nested levels, `4,2`.
            let counts = !value.is_empty()
                && value.len() <= 16
                && value.bytes().all(|b| b.is_ascii_digit() || b == b',');
            counts.then(|| format!("{name}={value}"))
        })
        .collect();
    found.sort_unstable();
    found
}

/// The first entry of a name, which is the one that `getenv` finds.
fn variable<'e>(environ: &'e [u8], name: &str) -> Option<&'e str> {
    environ.split(|&b| b == 0).find_map(|entry| {
        let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        (key == name).then_some(value)
    })
}

/// Options of a JVM as `key=value`: `Xmx=2g`, `MaxGCPauseMillis=50`, `UseZGC=true`.
///
/// In the order in which the JVM takes them, the last of a key wins:
/// `JAVA_TOOL_OPTIONS`, `JDK_JAVA_OPTIONS` (of the launcher), the arguments with
/// their `@argument files`, `_JAVA_OPTIONS`. `file` reads an argument file.
pub fn jvm_options(
    cmdline: &[u8],
    environ: &[u8],
    mut file: impl FnMut(&str) -> Option<String>,
) -> Vec<String> {
    let listed = |name| variable(environ, name).map(words).unwrap_or_default();
    let arguments = cmdline.split(|&b| b == 0).skip(1);
    let arguments = arguments.map(String::from_utf8_lossy).map(Cow::into_owned).collect();
    let mut found = Settings::default();
    found.take(listed("JAVA_TOOL_OPTIONS"), &mut |_| None);
    found.take(listed("JDK_JAVA_OPTIONS"), &mut file);
    found.take(arguments, &mut file);
    found.take(listed("_JAVA_OPTIONS"), &mut |_| None);
    found.0
}

/// What was found, each key once.
#[derive(Default)]
struct Settings(Vec<String>);

impl Settings {
    /// Up to the name of the program; what stands behind it are its own arguments.
    fn take(&mut self, arguments: Vec<String>, file: &mut impl FnMut(&str) -> Option<String>) {
        let mut expanding = true;
        let mut files = 0;
        let mut rest: std::collections::VecDeque<(String, bool)> =
            arguments.into_iter().map(|one| (one, true)).collect();
        while let Some((argument, may_name_file)) = rest.pop_front() {
            let named = argument.strip_prefix('@').filter(|_| expanding && may_name_file);
            if JAVA_VALUE_OPTIONS.contains(&argument.as_str()) {
                rest.pop_front();
            } else if argument == "--disable-@files" {
                expanding = false;
            } else if let Some(path) = named.filter(|path| !path.starts_with('@')) {
                files += 1;
                // What can't be read may hold the program's name: nothing behind it is certain.
                let text = (files <= MAX_ARGUMENT_FILES).then(|| file(path)).flatten();
                let Some(text) = text else { return };
                // A file names no further files.
                let inside = words(&text).into_iter().map(|one| (one, false));
                inside.rev().for_each(|one| rest.push_front(one));
            } else if !argument.starts_with('-') || argument == "-jar" {
                return;
            } else if let Some(option) = argument.strip_prefix("-X").and_then(option) {
                self.set(option);
            }
        }
    }

    fn set(&mut self, setting: String) {
        let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        self.0.retain(|known| key(known) != key(&setting));
        if self.0.len() < MAX_SETTINGS {
            self.0.push(setting);
        }
    }
}

/// Words of an argument file or an options variable: parted by white space,
/// held together by quotes, `#` up to the end of a line left out.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let (mut inside, mut quote) = (false, None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', Some(_)) => word.extend(letters.next()),
            (_, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => (inside, quote) = (true, Some(letter)),
            ('#', None) if !inside => while letters.next_if(|next| *next != '\n').is_some() {},
            (_, None) if letter.is_whitespace() => {
                if std::mem::take(&mut inside) {
                    found.push(std::mem::take(&mut word));
                }
            }
            _ => {
                inside = true;
                word.push(letter);
            }
        }
        if found.len() >= MAX_OPTIONS {
            return found;
        }
    }
    found.extend(inside.then_some(word));
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

    fn of_arguments(cmdline: &[u8]) -> Vec<String> {
        jvm_options(cmdline, b"", |_| None)
    }

    #[test]
    fn only_numbers_of_these_variables_are_taken() {
        let environ = b"OMP_NUM_THREADS=4,2\0OPENBLAS_NUM_THREADS=8\0MKL_NUM_THREADS=secret\0OMP_PROC_BIND=1\0PASSWORD=7\0GOMAXPROCS=3\0BLIS_NUM_THREADS=2\0NUMEXPR_MAX_THREADS=6\0OMP_NUM_THREADS=9\0";
        assert_eq!(
            thread_counts(environ),
            [
                "BLIS_NUM_THREADS=2",
                "GOMAXPROCS=3",
                "NUMEXPR_MAX_THREADS=6",
                "OMP_NUM_THREADS=4,2",
                "OPENBLAS_NUM_THREADS=8"
            ]
        );
        assert!(thread_counts(b"").is_empty());
    }

    #[test]
    fn heap_and_collector_are_taken_and_nothing_behind_the_program() {
        let cmdline = b"java\0-Xmx2g\0-cp\0a.jar:b.jar\0-Xms512m\0-Xint\0-XX:+UseZGC\0-XX:-TieredCompilation\0-XX:MaxGCPauseMillis=50\0-Dpassword=x\0-Xlog:gc:/var/log/secret\0-XX:HeapDumpPath=/home/me\0-XX:OnOutOfMemoryError=kill -9 %p\0org.Main\0-Xtoken\0";
        assert_eq!(
            of_arguments(cmdline),
            [
                "Xmx=2g",
                "Xms=512m",
                "Xint=true",
                "UseZGC=true",
                "TieredCompilation=false",
                "MaxGCPauseMillis=50"
            ]
        );
        assert_eq!(of_arguments(b"java\0-Xmx1g\0-jar\0-Xjar\0"), ["Xmx=1g"]);
    }

    #[test]
    fn the_place_that_the_jvm_reads_last_wins() {
        let environ = b"JAVA_TOOL_OPTIONS=-Xmx1g -XX:+UseSerialGC -javaagent:/secret.jar\0JDK_JAVA_OPTIONS=-Xmx2g '-Dtoken=a b' -Xss1m\0_JAVA_OPTIONS=-Xmn5m\0";
        let found = jvm_options(b"java\0-Xss2m\0-Xmn4m\0Main\0", environ, |_| None);
        assert_eq!(found, ["UseSerialGC=true", "Xmx=2g", "Xss=2m", "Xmn=5m"]);
    }

    #[test]
    fn argument_files_are_read_where_they_stand_and_no_further() {
        let file = |name: &str| match name {
            "heap" => Some("# -Xmx9g\n-Xmx3g\n-cp \"a b\" @other -Xss1m\n".to_owned()),
            "options" => Some("-XX:+UseZGC\n".to_owned()),
            _ => None,
        };
        let found = |cmdline: &[u8]| jvm_options(cmdline, b"", file);
        // `@other` inside a file is no file, but the program's name.
        assert_eq!(
            found(b"java\0-Xms1g\0@options\0@heap\0-Xmn1m\0"),
            ["Xms=1g", "UseZGC=true", "Xmx=3g"]
        );
        assert_eq!(found(b"java\0@gone\0-Xmx1g\0"), [""; 0], "the program may stand in it");
        assert_eq!(found(b"java\0@@odd\0-Xmx1g\0"), [""; 0], "no file, but the program");
        assert!(found(b"java\0--disable-@files\0@heap\0").is_empty());
        let many = [&b"java\0"[..], &b"@options\0".repeat(9), b"-Xmx1g\0"].concat();
        assert_eq!(found(&many), ["UseZGC=true"], "a bounded number is read");
    }

    #[test]
    fn words_are_held_together_by_quotes() {
        assert_eq!(words("a 'b c'  \"d \\\" e\"\n# f\n''g#h"), ["a", "b c", "d \" e", "g#h"]);
        assert_eq!(words("'' x"), ["", "x"]);
        assert_eq!(words("'open"), ["open"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), option in "-X{1,2}:?[+-]?.{0,20}", text in ".{0,60}") {
            let _ = (thread_counts(&bytes), jvm_options(&bytes, &bytes, |_| Some(text.clone())));
            let cmdline = format!("java\0{option}\0");
            let found = jvm_options(cmdline.as_bytes(), b"", |_| None);
            prop_assert!(found.iter().all(|one| !one.contains('/') && one.contains('=')));
        }
    }
}
