//! `/proc/PID/stat`: readable for everybody, so it is the base of each sample.

/// The fields of the line that the agent uses; see proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub comm: String,
    pub ppid: i32,
    /// User plus system time of all threads, in clock ticks.
    pub cpu_ticks: u64,
    /// The same of all children that ended and were waited for, and of theirs.
    pub children_ticks: u64,
    pub threads: i32,
    /// Start after boot, in clock ticks.
    pub start_ticks: u64,
    pub rss_pages: i64,
    /// PF_KTHREAD is set.
    pub kernel_thread: bool,
    /// It has ended and nobody waited for it yet.
    pub ended: bool,
}

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Parses the line. The name is between the first `(` and the last `)`: a
/// process may call itself `a) R 1 (b`.
pub fn parse(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|&b| b == b'(')?;
    let close = line.iter().rposition(|&b| b == b')')?;
    let comm = line.get(open + 1..close)?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // Field 3 (state) is the first one here.
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let ppid = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    let utime: u64 = fields.nth(4)?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    let children_utime: i64 = fields.next()?.parse().ok()?;
    let children_stime: i64 = fields.next()?.parse().ok()?;
    let threads = fields.nth(2)?.parse().ok()?;
    let start_ticks = fields.nth(1)?.parse().ok()?;
    let rss_pages = fields.nth(1)?.parse().ok()?;
    Some(Stat {
        comm: String::from_utf8_lossy(comm).into_owned(),
        ppid,
        cpu_ticks: utime.saturating_add(stime),
        children_ticks: children_utime.saturating_add(children_stime).max(0).unsigned_abs(),
        threads,
        start_ticks,
        rss_pages,
        kernel_thread: flags & PF_KTHREAD != 0,
        ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str = "S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 4711 1000000 256 18446744073709551615 1";

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        for name in ["bash", "tmux: server", "a) R 1 (b", "()", "", "(sd-pam)"] {
            let stat = parse(format!("42 ({name}) {TAIL}").as_bytes()).unwrap();
            assert_eq!(stat.comm, name);
            assert_eq!((stat.ppid, stat.cpu_ticks, stat.threads), (1, 200, 9));
            assert_eq!(stat.children_ticks, 15);
            assert_eq!((stat.start_ticks, stat.rss_pages), (4711, 256));
            assert!(!stat.kernel_thread);
        }
    }

    #[test]
    fn kernel_threads_are_known_by_their_flag() {
        let line = b"12 (kworker/0:1-ev) I 2 0 0 0 -1 69238880 0 0 0 0 0 1 0 0 20 0 1 0 5 0 0";
        assert!(parse(line).unwrap().kernel_thread);
    }

    #[test]
    fn a_zombie_has_ended() {
        for (state, ended) in [("Z", true), ("X", true), ("R", false), ("D", false)] {
            let line = format!("12 (sh) {state} 2 0 0 0 -1 0 0 0 0 0 0 1 0 0 20 0 1 0 5 0 0");
            assert_eq!(parse(line.as_bytes()).unwrap().ended, ended, "{state}");
        }
    }

    #[test]
    fn a_short_or_empty_line_is_no_process() {
        for line in ["", "42", "42 (x)", "42 (x) S 1 2", ") ("] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
        }

        #[test]
        fn any_name_survives(name in "[ -~]{0,15}", utime in 0u64..1 << 40, stime in 0u64..1 << 40) {
            let line = format!("7 ({name}) R 3 7 7 0 -1 0 0 0 0 0 {utime} {stime} 0 0 20 0 1 0 99 0 5");
            let stat = parse(line.as_bytes()).unwrap();
            prop_assert_eq!(stat.comm, name);
            prop_assert_eq!(stat.cpu_ticks, utime + stime);
        }
    }
}
