//! CPU time of processes that ended between two looks: pure arithmetic.
//!
//! The kernel adds a child's CPU time to its parent's `cutime` and `cstime`
//! when the parent waits for it (proc_pid_stat(5)), so nothing is lost that
//! somebody waited for: what a parent's sum grew by, less what was seen of the
//! children that ended, is what ran unseen. Two kinds of time are in it: the
//! end of children that were known, and all of the children that lived and
//! died unseen. The known ones get it first, as much as they can have used;
//! the rest is the parent's. A parent that lets the kernel reap its children
//! (SIGCHLD ignored) has no such sum: their time stays in the node's total.

/// Ticks that each ended child gets, and those left for the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    pub ended: Vec<u64>,
    pub parent: u64,
}

/// `grown`: by how much the parent's sum grew since the last look. `seen`: for
/// each child that ended, all ticks of it and of its own children that were
/// seen. `most`: what one process can use from one look to the next.
pub fn settle(grown: u64, seen: &[u64], most: u64) -> Shares {
    let known: u64 = seen.iter().fold(0, |sum, ticks| sum.saturating_add(*ticks));
    let mut unseen = grown.saturating_sub(known);
    let ended = seen
        .iter()
        .map(|_| {
            let share = unseen.min(most);
            unseen -= share;
            share
        })
        .collect();
    Shares { ended, parent: unseen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unseen_children_are_their_parents() {
        assert_eq!(settle(70, &[], 200), Shares { ended: vec![], parent: 70 });
    }

    #[test]
    fn the_end_of_a_known_child_is_its_own() {
        assert_eq!(settle(530, &[500], 200), Shares { ended: vec![30], parent: 0 });
        assert_eq!(settle(900, &[500], 200), Shares { ended: vec![200], parent: 200 });
    }

    #[test]
    fn a_parent_that_did_not_wait_has_no_sum() {
        assert_eq!(settle(0, &[500, 3], 200), Shares { ended: vec![0, 0], parent: 0 });
    }

    proptest! {
        /// What the kernel added is handed out once, and no more than that.
        #[test]
        fn nothing_is_lost_or_counted_twice(
            seen in proptest::collection::vec(0u64..10_000, 0..10),
            unseen in 0u64..10_000,
            most in 0u64..1_000,
        ) {
            let grown = seen.iter().sum::<u64>() + unseen;
            let shares = settle(grown, &seen, most);
            prop_assert_eq!(shares.ended.iter().sum::<u64>() + shares.parent, unseen);
            prop_assert!(shares.ended.iter().all(|share| *share <= most));
        }

        #[test]
        fn no_numbers_make_it_panic(grown in any::<u64>(), seen in proptest::collection::vec(any::<u64>(), 0..5), most in any::<u64>()) {
            let _ = settle(grown, &seen, most);
        }
    }
}
