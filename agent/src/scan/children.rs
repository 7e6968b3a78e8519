//! CPU time of processes that ended between two looks: pure arithmetic.
//!
//! The kernel adds a child's CPU time to its parent's `cutime` and `cstime`
//! when the parent waits for it (proc_pid_stat(5)), so nothing is lost that
//! somebody waited for: what a parent's sum grew by, less what was seen of the
//! children that ended, is what ran unseen. Two kinds of time are in it: the
//! end of children that were known, and all of the children that lived and
//! died unseen. The known ones get it first, as much as they used
//! from look to look before; the rest is the parent's. A parent that lets the kernel reap its children
//! (SIGCHLD ignored) has no such sum: their time is told by their cgroup, see
//! `cgroup_time`.
//!
//! A parent may be read a moment before it waits for a child that is gone when
//! its own turn comes. What was seen of that child is in the parent's sum one
//! look later, and is `owed` until then: it was in the child's rows.

/// Ticks that each ended child gets, and those left for the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    pub ended: Vec<u64>,
    pub parent: u64,
    /// Seen of children that are not in the sum yet.
    pub owed: u64,
}

/// A child that ended, as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Ticks of it and of its own children.
    pub seen: u64,
    /// What it used from the last look but one to the last.
    pub pace: u64,
}

/// `grown`: by how much the parent's sum grew since the last look; `owed`: how
/// much of that is of children that were gone at the last look already.
pub fn settle(grown: u64, owed: u64, ended: &[Ended]) -> Shares {
    let known: u64 = ended.iter().fold(0, |sum, one| sum.saturating_add(one.seen));
    let grown = grown.saturating_sub(owed);
    let mut unseen = grown.saturating_sub(known);
    let owed = known.saturating_sub(grown);
    let ended = ended
        .iter()
        .map(|one| {
            let share = unseen.min(one.pace);
            unseen -= share;
            share
        })
        .collect();
    Shares { ended, parent: unseen, owed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended(seen: u64, pace: u64) -> Ended {
        Ended { seen, pace }
    }

    #[test]
    fn unseen_children_are_their_parents() {
        assert_eq!(settle(70, 0, &[]), Shares { ended: vec![], parent: 70, owed: 0 });
    }

    #[test]
    fn the_end_of_a_known_child_is_its_own() {
        let shares = |grown| settle(grown, 0, &[ended(500, 200)]);
        assert_eq!(shares(530), Shares { ended: vec![30], parent: 0, owed: 0 });
        assert_eq!(shares(900), Shares { ended: vec![200], parent: 200, owed: 0 });
    }

    #[test]
    fn one_of_many_short_lived_children_does_not_get_the_time_of_all() {
        assert_eq!(settle(95, 0, &[ended(1, 1)]), Shares { ended: vec![1], parent: 93, owed: 0 });
    }

    #[test]
    fn a_parent_that_did_not_wait_has_no_sum() {
        let shares = settle(0, 0, &[ended(500, 10), ended(3, 3)]);
        assert_eq!(shares, Shares { ended: vec![0, 0], parent: 0, owed: 503 });
    }

    #[test]
    fn a_child_that_its_parent_waits_for_one_look_later_is_not_counted_again() {
        let first = settle(0, 0, &[ended(500, 10)]);
        assert_eq!((first.parent, first.owed), (0, 500));
        assert_eq!(settle(507, first.owed, &[]), Shares { ended: vec![], parent: 7, owed: 0 });
    }

    proptest! {
        /// What the kernel added is handed out once, and no more than that.
        #[test]
        fn nothing_is_lost_or_counted_twice(
            children in proptest::collection::vec((0u64..10_000, 0u64..1_000), 0..10),
            unseen in 0u64..10_000,
        ) {
            let children: Vec<Ended> = children.iter().map(|(seen, pace)| ended(*seen, *pace)).collect();
            let grown = children.iter().map(|one| one.seen).sum::<u64>() + unseen;
            let shares = settle(grown, 0, &children);
            prop_assert_eq!(shares.ended.iter().sum::<u64>() + shares.parent, unseen);
            prop_assert!(shares.ended.iter().zip(&children).all(|(share, one)| *share <= one.pace));
        }

        #[test]
        fn no_numbers_make_it_panic(grown in any::<u64>(), owed in any::<u64>(), seen in any::<u64>(), pace in any::<u64>()) {
            let _ = settle(grown, owed, &[ended(seen, pace), ended(pace, seen)]);
        }
    }
}
