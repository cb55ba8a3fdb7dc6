//! Whose memory is whose: a policy is handed back what it left, and nothing that another one left.
//!
//! Memory belongs to a target, to a place in its line, and there to a policy by its own name and by
//! who signed it. A new version of the same signer takes over what the one before left. So does the
//! very same component that another trusted key signs: keys can be rotated. Any other policy begins
//! with an empty memory; what the one before left is kept for its return.

use serde::{Deserialize, Serialize};

use super::PolicyIdentity;

/// Policies of one place whose memory is kept while another one decides; the oldest makes way.
pub(super) const KEPT: usize = 7;

/// Who vouches for a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// Nobody: it runs all the same, because somebody said so.
    #[default]
    Nobody,
    /// It is part of dbmedic.
    BuiltIn,
    /// A key, by its id.
    Key(String),
}

/// The policy that a memory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The name that it gives itself.
    pub name: String,
    /// Who vouches for it.
    pub signer: Signer,
    /// SHA-256 of the component that wrote it last, hex.
    pub digest: String,
}

impl Owner {
    /// A policy and who vouches for it.
    pub fn new(policy: PolicyIdentity, signer: Signer) -> Self {
        Self {
            name: policy.name,
            signer,
            digest: policy.digest,
        }
    }

    /// Whether what one left is handed to the other: a version of the same policy by the same signer,
    /// or the same component, whoever signed it.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest || (self.name == other.name && self.signer == other.signer)
    }
}

/// A memory and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The policy that left it. None in what was carried before owners were: it is the policy's in
    /// service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What it left to be handed back.
    pub memory: Vec<u8>,
}

/// Takes out what belongs to a policy, the same component first.
pub(super) fn take(all: &mut Vec<Remembered>, owner: &Owner) -> Option<Vec<u8>> {
    let of = |is_its: &dyn Fn(&Owner) -> bool| {
        let mut owners = all.iter().map(|remembered| remembered.owner.as_ref());
        owners.rposition(|known| known.is_some_and(is_its))
    };
    let at = of(&|known| known.digest == owner.digest)
        .or_else(|| of(&|known| known.is_same(owner)))
        .or_else(|| {
            all.iter()
                .rposition(|remembered| remembered.owner.is_none())
        })?;
    Some(all.remove(at).memory)
}

/// Keeps what a policy left, in the place of what it left before.
pub(super) fn keep(all: &mut Vec<Remembered>, owner: Owner, memory: Vec<u8>) {
    all.retain(|known| {
        !known
            .owner
            .as_ref()
            .is_some_and(|known| known.is_same(&owner))
    });
    if all.len() == KEPT {
        all.remove(0);
    }
    all.push(Remembered {
        owner: Some(owner),
        memory,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str, signer: &Signer, digest: &str) -> Owner {
        Owner {
            name: name.into(),
            signer: signer.clone(),
            digest: digest.into(),
        }
    }

    #[test]
    fn a_memory_is_of_a_name_and_a_signer_or_of_one_component() {
        let (ours, theirs) = (Signer::Key("A".into()), Signer::Key("B".into()));
        let own = owner("mine", &ours, "1");
        for (other, is_same, what) in [
            (owner("mine", &ours, "2"), true, "a new version"),
            (
                owner("mine", &theirs, "1"),
                true,
                "signed again by another key",
            ),
            (
                owner("mine", &Signer::Nobody, "1"),
                true,
                "the same bytes unsigned",
            ),
            (
                owner("mine", &theirs, "2"),
                false,
                "of the same name by another key",
            ),
            (
                owner("mine", &Signer::Nobody, "2"),
                false,
                "of the same name, unsigned",
            ),
            (
                owner("mine", &Signer::BuiltIn, "2"),
                false,
                "of the same name, built in",
            ),
            (
                owner("other", &ours, "2"),
                false,
                "another one of the same key",
            ),
        ] {
            assert_eq!(own.is_same(&other), is_same, "{what}");
            assert_eq!(other.is_same(&own), is_same, "{what}");
        }
        let nobody = owner("mine", &Signer::Nobody, "3");
        assert!(nobody.is_same(&owner("mine", &Signer::Nobody, "4")));
    }

    #[test]
    fn what_is_kept_is_bounded_and_taken_once() {
        let mut all = Vec::new();
        let of = |number: usize| owner(&format!("p{number}"), &Signer::Nobody, &number.to_string());
        for number in 0..20_u8 {
            keep(&mut all, of(number.into()), vec![number]);
        }
        assert_eq!(all.len(), KEPT);
        keep(&mut all, of(19), vec![7]);
        assert_eq!(all.len(), KEPT, "in the place of what it left before");
        assert_eq!(take(&mut all, &of(19)), Some(vec![7]));
        assert_eq!(take(&mut all, &of(19)), None);
        assert_eq!(take(&mut all, &of(0)), None, "the oldest made way");
    }

    #[test]
    fn the_same_component_comes_first_and_then_what_nobody_named() {
        let ours = Signer::Key("A".into());
        let unnamed = Remembered {
            owner: None,
            memory: vec![0],
        };
        let mut all = vec![unnamed.clone()];
        keep(&mut all, owner("mine", &Signer::Nobody, "1"), vec![1]);
        keep(&mut all, owner("mine", &ours, "2"), vec![2]);
        let resigned = owner("mine", &ours, "1");
        assert_eq!(take(&mut all, &resigned), Some(vec![1]));
        assert_eq!(take(&mut all, &resigned), Some(vec![2]));
        assert_eq!(take(&mut all, &resigned), Some(vec![0]));
    }
}
