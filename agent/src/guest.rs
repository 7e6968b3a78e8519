//! Which guest a QEMU process runs, by its own arguments: pure.
//!
//! `-name guest=web,debug-threads=on` or `-name web`, and `-uuid`. Nothing
//! else of the arguments is looked at. The cgroup of libvirt (`cgroup`) tells
//! the name too, and is asked where the arguments can't be read.

/// A guest of a hypervisor process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub name: Option<String>,
    pub uuid: Option<String>,
}

/// Name and UUID in the arguments of a `qemu-system-*` or `qemu-kvm` program.
pub fn guest(exe_name: &str, cmdline: &[u8]) -> Option<Guest> {
    if !exe_name.starts_with("qemu-system-") && exe_name != "qemu-kvm" && exe_name != "kvm" {
        return None;
    }
    let mut found = Guest { name: None, uuid: None };
    let mut arguments = cmdline.split(|&b| b == 0);
    while let Some(argument) = arguments.next() {
        match argument {
            b"-name" | b"--name" => found.name = arguments.next().and_then(name),
            b"-uuid" | b"--uuid" => {
                found.uuid = arguments.next().and_then(text).filter(|uuid| is_uuid(uuid));
            }
            _ => {}
        }
    }
    Some(found)
}

/// `guest=web,debug-threads=on`, `web,process=x` or `web`; a comma is doubled.
fn name(value: &[u8]) -> Option<String> {
    let value = text(value)?.replace(",,", "\u{1}");
    let options = value.split(',');
    let named = options.clone().find_map(|option| option.strip_prefix("guest="));
    let first = || options.clone().next().filter(|option| !option.contains('='));
    let name = named.or_else(first)?.replace('\u{1}', ",");
    (!name.is_empty()).then_some(name)
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0";

    #[test]
    fn name_and_uuid_are_found_in_every_form() {
        for (cmdline, name, uuid) in [
            (
                format!("qemu\0-name\0guest=web,debug-threads=on\0-S\0-uuid\0{UUID}\0"),
                Some("web"),
                Some(UUID),
            ),
            ("qemu\0-name\0web\0".into(), Some("web"), None),
            ("qemu\0-name\0a,,b,process=x\0".into(), Some("a,b"), None),
            ("qemu\0-uuid\0secret=1\0-name\0".into(), None, None),
            ("qemu\0-name\0process=x\0".into(), None, None),
            ("qemu\0-object\0secret,id=a,data=guest=b\0".into(), None, None),
        ] {
            let found = guest("qemu-system-x86_64", cmdline.as_bytes()).unwrap();
            assert_eq!((found.name.as_deref(), found.uuid.as_deref()), (name, uuid), "{cmdline}");
        }
        assert_eq!(guest("bash", b"bash\0-name\0web\0"), None);
        assert!(guest("qemu-kvm", b"").is_some());
    }

    proptest! {
        #[test]
        fn no_arguments_make_it_panic(cmdline in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = guest("qemu-kvm", &cmdline);
        }
    }
}
