//! `/proc/PID/status` and `/proc/PID/io`: details that cost more to read, or
//! need permission, and are therefore read less often.

/// Context switches of one thread, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    pub voluntary: u64,
    pub involuntary: u64,
}

impl std::ops::AddAssign for Switches {
    fn add_assign(&mut self, other: Switches) {
        self.voluntary = self.voluntary.saturating_add(other.voluntary);
        self.involuntary = self.involuntary.saturating_add(other.involuntary);
    }
}

/// Context switches of the thread whose `status` this is.
pub fn switches(status: &str) -> Option<Switches> {
    Some(Switches {
        voluntary: value(status, "voluntary_ctxt_switches:")?.parse().ok()?,
        involuntary: value(status, "nonvoluntary_ctxt_switches:")?.parse().ok()?,
    })
}

/// Number of CPUs in the affinity mask (`Cpus_allowed`, hex words).
pub fn cpus_allowed(status: &str) -> Option<u32> {
    mask_count(value(status, "Cpus_allowed:")?)
}

fn mask_count(mask: &str) -> Option<u32> {
    let mut count = 0;
    for word in mask.split(',') {
        count += u64::from_str_radix(word, 16).ok()?.count_ones();
    }
    (count > 0).then_some(count)
}

/// What a process may do beyond its user (`CapEff`): one bit for each capability.
pub fn effective_capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(value(status, "CapEff:")?, 16).ok()
}

/// Ids of a process in each pid namespace it is in, the outermost first
/// (`NSpid`). Empty where the kernel does not tell.
pub fn namespace_pids(status: &str) -> Vec<i32> {
    let ids = value(status, "NSpid:").unwrap_or_default();
    ids.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Bytes from and to storage since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    pub read_bytes: u64,
    pub write_bytes: u64,
}

pub fn io(text: &str) -> Option<Io> {
    Some(Io {
        read_bytes: value(text, "read_bytes:")?.parse().ok()?,
        write_bytes: value(text, "write_bytes:")?.parse().ok()?,
    })
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_process_has_an_id_in_each_namespace() {
        assert_eq!(namespace_pids("Name:\tx\nNSpid:\t4711\t12\t1\n"), [4711, 12, 1]);
        assert_eq!(namespace_pids("NSpid:\t4711\n"), [4711]);
        assert!(namespace_pids("Name:\tx\n").is_empty());
    }

    #[test]
    fn masks_of_any_width_are_counted() {
        for (mask, count) in [
            ("3", Some(2)),
            ("ff", Some(8)),
            ("00000000,00000001", Some(1)),
            ("ffffffff,ffffffff,ffffffff", Some(96)),
            ("0", None),
            ("", None),
            ("xyz", None),
        ] {
            assert_eq!(mask_count(mask), count, "{mask}");
        }
    }

    #[test]
    fn switches_and_io_are_found_by_name() {
        let status = "Name:\tx\nCpus_allowed:\t0f\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(switches(status), Some(Switches { voluntary: 12, involuntary: 3 }));
        assert_eq!(cpus_allowed(status), Some(4));
        let text =
            "rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(io(text), Some(Io { read_bytes: 4096, write_bytes: 8192 }));
        assert_eq!(io(""), None);
        assert_eq!(switches("Name:\tx\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,200}") {
            let _ = (switches(&text), cpus_allowed(&text), io(&text), mask_count(&text));
        }
    }
}
