//! The users and groups of this system, from `/etc/passwd` and `/etc/group`.
//!
//! A user of a directory service, or of a container, stands in neither file.

use std::fs::File;
use std::io::Read as _;

/// The most that is read of one of the files, bytes.
const MOST_BYTES: u64 = 16 << 20;

/// The name of a user; none for one that is not known.
pub fn name_of_user(uid: u32) -> Option<String> {
    let accounts = Accounts::read();
    let name = accounts.users().find(|&(_, known, _)| known == uid)?.0;
    Some(name.to_owned())
}

/// What stands in the two files.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads the files; one that cannot be read names nobody.
    pub(super) fn read() -> Self {
        let read = |path| {
            let mut bytes = Vec::new();
            let file = File::open(path).ok()?;
            file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        Self {
            passwd: read("/etc/passwd").unwrap_or_default(),
            group: read("/etc/group").unwrap_or_default(),
        }
    }

    /// Name, number and first group of each user.
    fn users(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((name, uid, fields.next()?.parse().ok()?))
        })
    }

    /// Number and members of each group.
    fn groups(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &str>)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            let members = fields.next().unwrap_or_default().split(',');
            Some((gid, members.filter(|member| !member.is_empty())))
        })
    }

    /// The first group of a user, and all others that it is in; none for a user that is not known.
    pub(super) fn groups_of(&self, uid: u32) -> Option<(u32, Vec<u32>)> {
        let (name, _, first) = self.users().find(|&(_, known, _)| known == uid)?;
        let others = self
            .groups()
            .filter_map(|(gid, mut members)| members.any(|member| member == name).then_some(gid));
        Some((first, others.collect()))
    }

    /// Whether a group stands in the files.
    pub(super) fn knows_group(&self, gid: u32) -> bool {
        self.groups().any(|(known, _)| known == gid)
    }

    /// Whether nobody but one user, and root, is in a group. Of a group that is not known nobody can
    /// say who is in it.
    pub(super) fn is_alone_in(&self, uid: u32, gid: u32) -> bool {
        let is_first_of_others = self
            .users()
            .any(|(_, user, first)| first == gid && user != uid && user != 0);
        let name_of = |name: &str| self.users().find(|(known, ..)| *known == name);
        let has_other_members = self.groups().any(|(known, mut members)| {
            known == gid
                && members.any(|member| {
                    name_of(member).is_none_or(|(_, user, _)| user != uid && user != 0)
                })
        });
        let is_known = self.knows_group(gid)
            || self
                .users()
                .any(|(_, user, first)| user == uid && first == gid);
        is_known && !is_first_of_others && !has_other_members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_which_group() {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n\
                     app:x:1000:1000::/home/app:/bin/sh\n\
                     web:x:1001:33::/:\nbroken:x\n\
                     backup:x:1002:33::/:\n"
                .to_owned(),
            group: "root:x:0:\napp:x:1000:\nwww:x:33:\nstaff:x:50:app,web\n\
                    own:x:60:app\nghosts:x:70:gone\nbroken\n"
                .to_owned(),
        };
        assert_eq!(accounts.groups_of(1000), Some((1000, vec![50, 60])));
        assert_eq!(accounts.groups_of(1001), Some((33, vec![50])));
        assert_eq!(accounts.groups_of(4711), None);
        let alone = |gid| accounts.is_alone_in(1000, gid);
        assert!(alone(1000) && alone(60) && alone(0));
        assert!(!alone(33) && !alone(50) && !alone(70) && !alone(4711));
        assert!(accounts.knows_group(33) && !accounts.knows_group(34));
        assert!(!Accounts::default().is_alone_in(1000, 1000));
    }
}
