//! Whose rights a worker process has.
//!
//! A database that belongs to another user is opened by a process that has given up everything but
//! that user's rights, for good: what a hostile file makes of SQLite, or a planted link of an open,
//! reaches what its owner could reach anyway.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use serde::{Deserialize, Serialize};

use super::accounts::Accounts;

/// The user who owns nothing.
pub(super) const NO_USER: u32 = 65_534;
/// The group of those who are in none.
pub(super) const NO_GROUP: u32 = 65_534;

/// A user with the groups that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The user.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

impl Rights {
    /// The rights of a user, as the system's files of accounts have them. A user that they do not
    /// know, as of a container, has those of its file's group where that is not one of this system.
    pub fn of(uid: u32, gid_of_file: u32) -> Self {
        Self::known(&Accounts::read(), uid, gid_of_file)
    }

    pub(super) fn known(accounts: &Accounts, uid: u32, gid_of_file: u32) -> Self {
        let is_of_this_system = gid_of_file == 0 || accounts.knows_group(gid_of_file);
        let (gid, groups) = accounts.groups_of(uid).unwrap_or_else(|| {
            let own = if is_of_this_system {
                NO_GROUP
            } else {
                gid_of_file
            };
            (own, Vec::new())
        });
        Self { uid, gid, groups }
    }

    /// Gives up every other right of this process, for good, and proves it. The process must still
    /// have one thread only: rights belong to a thread.
    ///
    /// # Errors
    ///
    /// In one line: what could not be given up. Then nothing may be opened.
    pub(super) fn keep_only(&self) -> Result<(), String> {
        let failed = |what: &str, error: Errno| {
            format!(
                "cannot take the rights of user {}: {what}: {error}; dbmedic needs CAP_SETUID and \
                 CAP_SETGID for that, or is to run as that user",
                self.uid
            )
        };
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups).map_err(|error| failed("setgroups", error))?;
        let gid = Gid::from_raw(self.gid);
        set_thread_res_gid(gid, gid, gid).map_err(|error| failed("setresgid", error))?;
        let uid = Uid::from_raw(self.uid);
        set_thread_res_uid(uid, uid, uid).map_err(|error| failed("setresuid", error))?;
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(|error| failed("capset", error))?;
        set_no_new_privs(true).map_err(|error| failed("no_new_privs", error))?;

        if set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
            return Err("root's rights came back after they were given up".to_owned());
        }
        let status = fs::read_to_string("/proc/self/status")
            .map_err(|error| format!("cannot see which rights are left: {error}"))?;
        self.are_all_in(&status)
    }

    /// Whether a process has these rights and no others, from the text of `/proc/PID/status`.
    fn are_all_in(&self, status: &str) -> Result<(), String> {
        let field = |name: &str| {
            let rest = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            rest.map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" "))
                .unwrap_or_default()
        };
        let four = |id: u32| format!("{id} {id} {id} {id}");
        let mut groups: Vec<_> = self.groups.clone();
        groups.sort_unstable();
        let mut has: Vec<u32> = field("Groups")
            .split(' ')
            .filter_map(|group| group.parse().ok())
            .collect();
        has.sort_unstable();
        let expected = [
            ("Threads", "1".to_owned()),
            ("Uid", four(self.uid)),
            ("Gid", four(self.gid)),
            ("NoNewPrivs", "1".to_owned()),
        ];
        for (name, expected) in expected {
            let found = field(name);
            if found != expected {
                return Err(format!("{name} is `{found}`, not `{expected}`"));
            }
        }
        if has != groups {
            return Err(format!("the groups are {has:?}, not {groups:?}"));
        }
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let found = field(name);
            if found.bytes().any(|digit| digit != b'0') {
                return Err(format!("{name} is {found}, not none"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_that_are_left_are_seen() {
        let rights = Rights {
            uid: 1000,
            gid: 100,
            groups: vec![7, 5],
        };
        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\n\
                      Groups:\t5 7 \nThreads:\t1\nCapInh:\t0000000000000000\n\
                      CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                      CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";
        assert_eq!(rights.are_all_in(status), Ok(()));
        for (right, wrong) in [
            ("Uid:\t1000\t1000\t1000\t1000", "Uid:\t1000\t1000\t0\t1000"),
            ("Gid:\t100", "Gid:\t0"),
            ("5 7", "0 5 7"),
            ("Threads:\t1", "Threads:\t2"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000000004"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Uid", "Udi"),
        ] {
            let status = status.replace(right, wrong);
            assert!(rights.are_all_in(&status).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_nobody_knows_gets_no_group_of_this_system() {
        let accounts = Accounts::default();
        let of = |gid| Rights::known(&accounts, 999, gid).gid;
        assert_eq!((of(999), of(0)), (999, NO_GROUP));
        let real = Rights::of(0, 4711);
        assert_eq!((real.uid, real.gid), (0, 0), "root is known everywhere");
    }
}
