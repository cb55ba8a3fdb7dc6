//! Signatures that were found good. Verifying one takes longer than everything else between a file and
//! a policy that is ready, so the same one is not verified again: whether it has expired is.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Comment, Hashed, Provenance, SignatureError, TrustedKey, Verified, comment, key_id,
    read_signature,
};

/// Signatures that are remembered.
const REMEMBERED: usize = 64;

/// A signature that is one of a component by a trusted key.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    key: TrustedKey,
    key_id: String,
    comment: Comment,
}

impl Signed {
    /// Everything but the expiry.
    pub(super) fn verify(
        component: &Hashed,
        signature: Option<&[u8]>,
        keys: &[TrustedKey],
    ) -> Result<Self, SignatureError> {
        let signature = read_signature(signature.ok_or(SignatureError::Missing)?)?;
        if keys.is_empty() {
            return Err(SignatureError::NoKeys);
        }
        let mut parsed = Vec::new();
        for trusted in keys {
            let key = trusted.parse().map_err(|error| SignatureError::BadKey {
                name: trusted.name.clone(),
                what: error.to_string(),
            })?;
            parsed.push((trusted, key));
        }
        let id = key_id(signature.keynum());
        let Some((trusted, key)) = parsed
            .iter()
            .find(|(_, key)| key.keynum() == signature.keynum())
        else {
            return Err(SignatureError::UnknownKey {
                id,
                trusted: parsed.iter().map(|(_, k)| key_id(k.keynum())).collect(),
            });
        };
        let bytes = Cursor::new(component.bytes());
        minisign::verify(key, &signature, bytes, true, false, false)
            .map_err(|_| SignatureError::Wrong { id: id.clone() })?;
        // Only now is the comment the signer's.
        let text = signature
            .trusted_comment()
            .map_err(|error| SignatureError::Unreadable {
                what: error.to_string(),
            })?;
        let comment = Comment::parse(&text)?;
        if let Some(signed) = &comment.sha256
            && signed != component.digest()
        {
            return Err(SignatureError::OtherDigest {
                signed: signed.clone(),
            });
        }
        Ok(Self {
            key: (*trusted).clone(),
            key_id: id,
            comment,
        })
    }

    /// Whether neither key nor signature have expired at a time, milliseconds since the Unix epoch.
    pub(super) fn holds(&self, now_ms: u64) -> Result<(), SignatureError> {
        if let Some(end) = self.key.expires_ms.filter(|&end| end <= now_ms) {
            return Err(SignatureError::KeyExpired {
                name: self.key.name.clone(),
                when: comment::show_time(end),
            });
        }
        if let Some(end) = self.comment.expires_ms.filter(|&end| end <= now_ms) {
            return Err(SignatureError::Expired {
                when: comment::show_time(end),
            });
        }
        Ok(())
    }

    /// The component, which is believed from now on.
    pub(super) fn of(self, component: Hashed) -> Verified {
        Verified {
            component,
            provenance: Provenance::Signed {
                key: self.key.name,
                key_id: self.key_id,
                comment: self.comment,
            },
        }
    }
}

struct Known {
    digest: Arc<str>,
    signature: Arc<[u8]>,
    signed: Signed,
}

/// The trusted keys, with the signatures by them that were found good.
pub struct Believed {
    keys: Vec<TrustedKey>,
    known: Mutex<VecDeque<Known>>,
}

impl Believed {
    /// Believes these keys.
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        Self {
            keys,
            known: Mutex::default(),
        }
    }

    /// Checks a signature at a time, in milliseconds since the Unix epoch. Without a time, everything
    /// but the expiry: of something that came into service while its key and its signature were good,
    /// and that goes on. To revoke a key, take it out of the trusted ones.
    ///
    /// # Errors
    /// [`SignatureError`] says why the component is not believed.
    pub fn check(
        &self,
        component: Hashed,
        signature: Option<&Arc<[u8]>>,
        now_ms: Option<u64>,
    ) -> Result<Verified, SignatureError> {
        let known = signature.and_then(|signature| self.find(&component, signature));
        let signed = match (known, signature) {
            (Some(signed), _) => signed,
            (None, signature) => {
                let bytes = signature.map(|signature| &**signature);
                let signed = Signed::verify(&component, bytes, &self.keys)?;
                if let Some(signature) = signature {
                    self.remember(&component, signature, &signed);
                }
                signed
            }
        };
        if let Some(now_ms) = now_ms {
            signed.holds(now_ms)?;
        }
        Ok(signed.of(component))
    }

    fn find(&self, component: &Hashed, signature: &Arc<[u8]>) -> Option<Signed> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &&Known| *known.digest == *component.digest() && known.signature == *signature;
        known.iter().find(same).map(|known| known.signed.clone())
    }

    fn remember(&self, component: &Hashed, signature: &Arc<[u8]>, signed: &Signed) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back(Known {
            digest: Arc::clone(&component.digest),
            signature: Arc::clone(signature),
            signed: signed.clone(),
        });
    }
}
