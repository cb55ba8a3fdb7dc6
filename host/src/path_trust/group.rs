//! Groups that nobody but one user is in, and owners that are nobody in this namespace.

use std::fs;

use rustix::process::Uid;

/// Whether members of a group can do no more than `user` and root can: it is root's, or the user's
/// own and nobody else is in it.
///
/// Only what stands in `/etc/passwd` and `/etc/group` counts: of a directory service nobody can say
/// who else is in a group.
pub(super) fn is_trusted(group: u32, user: Uid) -> bool {
    if group == 0 {
        return true;
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_private(
        group,
        user.as_raw(),
        &read("/etc/passwd"),
        &read("/etc/group"),
    )
}

/// Whether a group is a user's own by the convention of user private groups: it has the user's name,
/// is the user's first group and nobody else's, and names no other member.
fn is_private(group: u32, user: u32, passwd: &str, groups: &str) -> bool {
    let mut owner = None;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else {
            continue;
        };
        if gid.parse() != Ok(group) {
            continue;
        }
        if uid.parse() != Ok(user) {
            return false;
        }
        owner = Some(name);
    }
    let Some(owner) = owner else {
        return false;
    };
    let mut named = false;
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            continue;
        };
        if gid.parse() != Ok(group) {
            continue;
        }
        let mut members = members.split(',').filter(|member| !member.is_empty());
        if name != owner || members.any(|member| member != owner) {
            return false;
        }
        named = true;
    }
    named
}

/// Whether an owner stands for all users that this user namespace does not know: what they own was
/// put there from outside, and nobody inside can act as them.
pub(crate) fn is_of_no_user_here(owner: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_unmapped(
        owner,
        &read("/proc/sys/kernel/overflowuid"),
        &read("/proc/self/uid_map"),
    )
}

fn is_unmapped(owner: u32, overflow: &str, map: &str) -> bool {
    if overflow.trim().parse() != Ok(owner) || map.trim().is_empty() {
        return false;
    }
    map.lines().all(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        !(first..first + count).contains(&u64::from(owner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          ann:x:1000:1000::/home/ann:/bin/sh\n\
                          bob:x:1001:1001::/home/bob:/bin/sh\n\
                          cleo:x:1002:100::/home/cleo:/bin/sh\n\
                          dan:x:1003:100::/home/dan:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nann:x:1000:\nbob:x:1001:bob,ann\nusers:x:100:\nwww:x:33:\n";

    #[test]
    fn only_a_group_of_one_user_is_private() {
        let cases = [
            (1000, 1000, true),
            // Of another user.
            (1000, 1001, false),
            // Has another member.
            (1001, 1001, false),
            // First group of two users.
            (100, 1002, false),
            // Of nobody, as a program's is that runs with it.
            (33, 1000, false),
            // Unknown here.
            (5000, 1000, false),
        ];
        for (group, user, expected) in cases {
            let found = is_private(group, user, PASSWD, GROUPS);
            assert_eq!(found, expected, "group {group}, user {user}");
        }
        assert!(!is_private(1000, 1000, PASSWD, ""), "no such group");
        assert!(!is_private(1000, 1000, "", GROUPS), "no such user");
    }

    #[test]
    fn the_owner_of_what_comes_from_outside_is_nobody_only_where_nobody_has_that_number() {
        let one_user = "      1000       1000          1\n";
        assert!(is_unmapped(65534, "65534\n", one_user));
        assert!(!is_unmapped(1001, "65534\n", one_user));
        assert!(!is_unmapped(65534, "65534\n", "0 0 4294967295\n"));
        assert!(!is_unmapped(65534, "65534\n", "0 100000 65536\n"));
        assert!(!is_unmapped(65534, "65534\n", ""));
    }
}
