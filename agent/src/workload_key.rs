//! A name for what a process belongs to, stable across restarts.
//!
//! In order: what the owner declared (`EO_WORKLOAD`), the pod, the container,
//! the virtual machine, the systemd service, the kernel, and at last the program itself. Of a
//! process' environment exactly two variables are looked at, and of its
//! arguments only the script, module, class or jar that is the program:
//! arguments hold secrets. `scan` keeps the answer for the life of a process.

use std::borrow::Cow;
use std::sync::Arc;

use crate::cgroup::Membership;
use crate::procfs::maps::basename;

/// Longest name after the slash; longer ones are cut.
const MAX_NAME_CHARS: usize = 120;

/// Who a process works for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub key: Arc<str>,
    pub kind: &'static str,
    pub replica: Option<Arc<str>>,
}

/// The two variables of an environment that leave the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    pub workload: Option<String>,
    pub replica: Option<String>,
}

/// Picks them out of `/proc/PID/environ`.
pub fn declared(environ: &[u8]) -> Declared {
    let find = |name: &[u8]| {
        environ
            .split(|&b| b == 0)
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
            .map(|value| clean(&String::from_utf8_lossy(value)))
            .filter(|value| !value.is_empty())
    };
    Declared { workload: find(b"EO_WORKLOAD"), replica: find(b"EO_REPLICA") }
}

/// What is known of a process when its name is made.
#[derive(Debug, Default)]
pub struct Facts<'f> {
    pub declared: Declared,
    pub membership: Membership,
    /// Guest that this process runs, by its arguments.
    pub vm_name: Option<&'f str>,
    pub kernel_thread: bool,
    pub exe: Option<&'f str>,
    pub comm: &'f str,
    pub cmdline: &'f [u8],
}

pub fn workload(facts: &Facts) -> Workload {
    let (kind, name, replica) = if let Some(name) = &facts.declared.workload {
        ("declared", name.clone(), facts.declared.replica.as_deref().map(Arc::from))
    } else if let Some(uid) = &facts.membership.pod_id {
        ("pod", uid.clone(), None)
    } else if let Some(id) = &facts.membership.container_id {
        ("container", clean(id), None)
    } else if let Some(guest) = facts.vm_name.or(facts.membership.vm.as_deref()) {
        ("vm", clean(guest), None)
    } else if let Some(unit) = &facts.membership.service {
        ("service", clean(unit), None)
    } else if facts.kernel_thread {
        ("kernel", "threads".to_owned(), None)
    } else {
        ("process", program(facts.exe, facts.comm, facts.cmdline), None)
    };
    Workload { key: format!("{kind}/{name}").into(), kind, replica }
}

/// What works for a pod or container from outside of it, e.g. its runtime's monitor.
pub fn adopted(container_id: Option<&str>, pod_id: Option<&str>) -> Option<Workload> {
    let (kind, id) = match (pod_id, container_id) {
        (Some(uid), _) => ("pod", uid.to_owned()),
        (None, Some(id)) => ("container", clean(id)),
        (None, None) => return None,
    };
    Some(Workload { key: format!("{kind}/{id}").into(), kind, replica: None })
}

/// Executable, and for an interpreter the script it runs: `python3:server.py`.
pub fn program(exe: Option<&str>, comm: &str, cmdline: &[u8]) -> String {
    let name = exe.map(basename).filter(|name| !name.is_empty()).unwrap_or(comm);
    // A program run from memory has a random name, or one it gave itself.
    let name = if name.starts_with("memfd:") { "memfd" } else { name };
    let arguments: Vec<_> =
        cmdline.split(|&b| b == 0).skip(1).map(String::from_utf8_lossy).collect();
    let script = match interpreter(name) {
        Some(Interpreter::Python) => python_script(&arguments),
        Some(Interpreter::Java) => java_main(&arguments),
        Some(Interpreter::Script) => script(&arguments),
        None => None,
    };
    let base = if name.starts_with("python") && !name.starts_with("python2") {
        // python, python3 and python3.11 are one program.
        interpreter(name).map_or(name, |_| "python3")
    } else {
        name
    };
    match script.map(|script| clean(&script)).filter(|script| !script.is_empty()) {
        Some(script) => clean(&format!("{base}:{script}")),
        None => clean(base),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    Python,
    Java,
    Script,
}

fn interpreter(name: &str) -> Option<Interpreter> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match stem {
        "python" | "pypy" => Some(Interpreter::Python),
        "java" => Some(Interpreter::Java),
        "node" | "nodejs" | "ruby" | "perl" | "php" => Some(Interpreter::Script),
        _ => None,
    }
}

/// The script or module. What follows `-c` is program text, which may hold
/// secrets, and so never leaves this function.
fn python_script(arguments: &[Cow<'_, str>]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(options) = argument.strip_prefix('-') else {
            return Some(basename(argument).to_owned());
        };
        if options == "-check-hash-based-pycs" {
            rest.next();
        } else if !options.starts_with('-') {
            // Options cluster: `-Ic TEXT`, `-um MODULE`, `-Wignore`.
            let Some(at) = options.find(['c', 'm', 'W', 'X']) else { continue };
            let (option, attached) = options[at..].split_at(1);
            match option {
                "c" => return Some("-c".to_owned()),
                "m" if attached.is_empty() => {
                    return rest.next().map(|module| format!("-m {module}"))
                }
                "m" => return Some(format!("-m {attached}")),
                _ if attached.is_empty() => drop(rest.next()),
                _ => {}
            }
        }
    }
    None
}

/// First argument of node, ruby, perl or php. Nothing at all where a short
/// option or `--eval` precedes it: that may be program text.
fn script(arguments: &[Cow<'_, str>]) -> Option<String> {
    for argument in arguments {
        match argument.strip_prefix('-') {
            None => return Some(basename(argument).to_owned()),
            Some(option) if !option.starts_with('-') => return None,
            Some("-eval" | "-print") => return None,
            Some(_) => {}
        }
    }
    None
}

/// java options that take the next argument as their value.
pub const JAVA_VALUE_OPTIONS: [&str; 7] =
    ["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens"];

fn java_main(arguments: &[Cow<'_, str>]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if JAVA_VALUE_OPTIONS.contains(&argument.as_ref()) {
            rest.next();
        } else if argument == "-jar" || argument == "-m" || argument == "--module" {
            return rest.next().map(|jar| basename(jar).to_owned());
        } else if !argument.starts_with('-') {
            return Some(argument.to_string());
        }
    }
    None
}

/// No control characters, no slashes, at most `MAX_NAME_CHARS`.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == '/' || c == '\u{fffd}' { '_' } else { c })
        .take(MAX_NAME_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(exe: &str, cmdline: &str) -> String {
        let cmdline = cmdline.replace(' ', "\0");
        workload(&Facts {
            exe: Some(exe),
            comm: "comm",
            cmdline: cmdline.as_bytes(),
            ..Default::default()
        })
        .key
        .to_string()
    }

    #[test]
    fn programs_are_named_without_their_arguments() {
        for (exe, cmdline, expected) in [
            ("/usr/bin/postgres", "postgres -D /data --password=x", "process/postgres"),
            (
                "/usr/bin/python3.11",
                "python3 /srv/server.py --token secret",
                "process/python3:server.py",
            ),
            (
                "/usr/bin/python3.11",
                "python -X dev -u -m http.server 80",
                "process/python3:-m http.server",
            ),
            ("/usr/bin/python3", "python3 -c print(1)", "process/python3:-c"),
            ("/usr/bin/python3", "python3 -Ic password=1", "process/python3:-c"),
            ("/usr/bin/python3.11", "python3 -ummodule x", "process/python3:-m module"),
            ("/usr/bin/python3.11", "python3", "process/python3"),
            (
                "/opt/jdk/bin/java",
                "java -Xmx1g -cp a.jar:b.jar org.Main arg",
                "process/java:org.Main",
            ),
            ("/opt/jdk/bin/java", "java -jar /srv/app.jar --key k", "process/java:app.jar"),
            ("/usr/bin/node", "node --max-old-space-size=1 /srv/index.js", "process/node:index.js"),
            ("/usr/bin/node", "node -e key='secret'", "process/node"),
            ("/usr/bin/node", "node --eval key='secret'", "process/node"),
            ("/memfd:sealed-91173221a7ea", "x", "process/memfd"),
            ("/usr/bin/perl", "perl", "process/perl"),
        ] {
            assert_eq!(key(exe, cmdline), expected, "{cmdline}");
        }
    }

    #[test]
    fn the_most_specific_owner_wins() {
        let membership = Membership {
            container_id: Some("c".into()),
            pod_id: Some("p".into()),
            vm: Some("guest".into()),
            service: Some("s.service".into()),
        };
        let mut facts = Facts { membership, comm: "x", kernel_thread: true, ..Default::default() };
        facts.declared = Declared { workload: Some("web".into()), replica: Some("3".into()) };
        let found = workload(&facts);
        assert_eq!(
            (&*found.key, found.kind, found.replica.as_deref()),
            ("declared/web", "declared", Some("3"))
        );
        facts.declared = Declared::default();
        assert_eq!(&*workload(&facts).key, "pod/p");
        facts.membership.pod_id = None;
        assert_eq!(&*workload(&facts).key, "container/c");
        facts.membership.container_id = None;
        assert_eq!(&*workload(&facts).key, "vm/guest");
        facts.vm_name = Some("by its/arguments");
        assert_eq!(&*workload(&facts).key, "vm/by its_arguments");
        (facts.vm_name, facts.membership.vm) = (None, None);
        assert_eq!(&*workload(&facts).key, "service/s.service");
        facts.membership.service = None;
        assert_eq!(&*workload(&facts).key, "kernel/threads");
        facts.kernel_thread = false;
        assert_eq!(&*workload(&facts).key, "process/x");
    }

    #[test]
    fn only_the_two_variables_are_taken() {
        let environ = b"SECRET=1\0EO_WORKLOAD=batch/job\nx\0EO_WORKLOAD_X=no\0EO_REPLICA=7\0";
        let found = declared(environ);
        assert_eq!(
            found,
            Declared { workload: Some("batch_job_x".into()), replica: Some("7".into()) }
        );
        assert_eq!(declared(b"EO_WORKLOAD=\0"), Declared::default());
    }

    proptest! {
        #[test]
        fn a_key_is_short_and_has_one_slash(exe in ".{0,200}", comm in ".{1,16}", cmdline in proptest::collection::vec(any::<u8>(), 0..400)) {
            let facts = Facts { exe: Some(&exe), comm: &comm, cmdline: &cmdline, ..Default::default() };
            let found = workload(&facts);
            prop_assert!(found.key.chars().count() <= MAX_NAME_CHARS + 10);
            prop_assert_eq!(found.key.matches('/').count(), 1);
            prop_assert!(!found.key.chars().any(char::is_control));
        }
    }
}
