//! Who vouches for a policy: detached signatures over a component's digest, made and checked.
//!
//! The format is minisign's, prehashed: what is signed is the BLAKE2b-512 digest of the component,
//! and a trusted comment that is signed with it names the policy, its version, its SHA-256 and how
//! long the signature holds. `minisign -Vm policy.wasm -p dbmedic.pub` checks what is made here, and
//! what `minisign -Sm` makes is checked here. Sigstore's bundles were the other choice: with a
//! managed key and no network they add a certificate format, a transparency log's proof that nobody
//! can check offline, and a dependency tree many times this size, for the same Ed25519 signature.
//!
//! [`Verified`] is the only thing that can be compiled, and this module the only one that makes it.
//! It reads no file and no clock; a secret key never leaves it but as the box that minisign defines.

mod believed;
mod comment;
#[cfg(test)]
mod tests;

use std::io::Cursor;
use std::sync::Arc;

use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKeyBox, SignatureBox};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;

use believed::Signed;

pub use believed::Believed;
pub use comment::{Comment, CommentError, parse_time};

/// The longest signature file that is read, bytes. A real one has some 400.
pub const SIGNATURE_BYTES: usize = 16 << 10;
/// Characters of the second line: algorithm, key id and signature, 74 bytes in base64.
const SIGNATURE_LINE: usize = 100;
/// Characters of the fourth line: the signature of the trusted comment, 64 bytes in base64.
const COMMENT_LINE: usize = 88;

/// A public key whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKey {
    /// What people call it.
    pub name: String,
    /// The key as minisign prints it: base64, 56 characters.
    pub key: String,
    /// From when on nothing new comes into service by it, milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

impl TrustedKey {
    /// The key's id as minisign prints it, or what is wrong with the key.
    pub fn id(&self) -> Result<String, SigningError> {
        Ok(key_id(self.parse()?.keynum()))
    }

    fn parse(&self) -> Result<PublicKey, SigningError> {
        PublicKey::from_base64(self.key.trim()).map_err(|error| SigningError::PublicKey {
            what: error.to_string(),
        })
    }
}

/// Where a component's right to decide comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// It is part of this binary.
    BuiltIn,
    /// A trusted key signed it.
    Signed {
        /// The key's name in the configuration.
        key: String,
        /// The key's id.
        key_id: String,
        /// What was signed along.
        comment: Comment,
    },
    /// Nobody vouches for it; somebody said that it may run all the same.
    Unsigned,
}

impl Provenance {
    /// When it was signed, milliseconds since the Unix epoch, where the signature says so.
    pub fn signed_ms(&self) -> Option<u64> {
        match self {
            Self::Signed { comment, .. } => comment.signed_ms,
            Self::BuiltIn | Self::Unsigned => None,
        }
    }
}

/// A component's bytes with their SHA-256, which is taken once.
#[derive(Clone)]
pub struct Hashed {
    bytes: Arc<[u8]>,
    digest: Arc<str>,
}

impl Hashed {
    /// Takes the digest of a component.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: sha256(&bytes).into(),
            bytes,
        }
    }

    /// The component.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its SHA-256, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// A component whose origin was checked. Nothing else is ever compiled.
#[derive(Clone)]
pub struct Verified {
    component: Hashed,
    provenance: Provenance,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("digest", &self.component.digest)
            .field("provenance", &self.provenance)
            .finish_non_exhaustive()
    }
}

impl Verified {
    /// Checks a signature at a time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`SignatureError`] says why the component is not believed.
    pub fn signed(
        bytes: impl Into<Arc<[u8]>>,
        signature: Option<&[u8]>,
        keys: &[TrustedKey],
        now_ms: u64,
    ) -> Result<Self, SignatureError> {
        let component = Hashed::new(bytes);
        let signed = Signed::verify(&component, signature, keys)?;
        signed.holds(now_ms)?;
        Ok(signed.of(component))
    }

    /// A component that is part of this binary.
    pub fn built_in(bytes: &'static [u8]) -> Self {
        Self {
            component: Hashed::new(bytes),
            provenance: Provenance::BuiltIn,
        }
    }

    /// A component that nobody vouches for. For what decides about no live database (tests,
    /// replays), and for service only where the configuration says `require_signature = false`.
    pub fn unsigned(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::unsigned_hashed(Hashed::new(bytes))
    }

    /// The same, of a component whose digest is known.
    pub fn unsigned_hashed(component: Hashed) -> Self {
        Self {
            component,
            provenance: Provenance::Unsigned,
        }
    }

    /// The component.
    pub fn bytes(&self) -> &[u8] {
        &self.component.bytes
    }

    /// Its SHA-256, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.component.digest
    }

    /// Who vouches for it.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }
}

/// The SHA-256 of bytes, lower-case hex: the name of a component everywhere in dbmedic.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Why a component is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no signature.
    #[error(
        "it has no signature; sign it with `dbmedic policy sign`, and keep the .minisig beside it"
    )]
    Missing,
    /// The signature is not one, or only half of one.
    #[error("its signature cannot be read: {what}")]
    Unreadable {
        /// What is wrong.
        what: String,
    },
    /// It was made without hashing first.
    #[error("its signature is of minisign's old kind; sign it again with `minisign -S -H`")]
    Legacy,
    /// No key is trusted.
    #[error("no key is trusted; name one in [[policy.trusted_keys]]")]
    NoKeys,
    /// A key that is not among the trusted ones.
    #[error("it is signed by key {id}, which is not trusted; trusted: {}", .trusted.join(", "))]
    UnknownKey {
        /// The key that signed, as the signature claims.
        id: String,
        /// The ids of the trusted keys.
        trusted: Vec<String>,
    },
    /// The signature does not fit.
    #[error(
        "its signature is not one of these bytes by key {id}: they were changed, or another key made it"
    )]
    Wrong {
        /// The key that it claims.
        id: String,
    },
    /// A trusted key cannot be used.
    #[error("trusted key `{name}` is no minisign key: {what}")]
    BadKey {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The key's time is over.
    #[error("key `{name}` expired on {when}; sign with another trusted key")]
    KeyExpired {
        /// Its name.
        name: String,
        /// When.
        when: String,
    },
    /// The signature's time is over.
    #[error("its signature expired on {when}; sign it again")]
    Expired {
        /// When.
        when: String,
    },
    /// What was signed along cannot be understood.
    #[error("its trusted comment: {0}")]
    Comment(#[from] CommentError),
    /// What was signed along speaks of another component.
    #[error("its trusted comment speaks of a component with SHA-256 {signed}, not of this one")]
    OtherDigest {
        /// The digest in the comment.
        signed: String,
    },
}

/// The four lines of a signature, each of its length: half a file is none.
fn read_signature(bytes: &[u8]) -> Result<SignatureBox, SignatureError> {
    let unreadable = |what: &str| SignatureError::Unreadable { what: what.into() };
    if bytes.len() > SIGNATURE_BYTES {
        return Err(unreadable("it is too long for a minisign signature"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is not text"))?;
    let lines: Vec<&str> = text.lines().collect();
    let whole = lines.len() == 4
        && lines[1].trim().len() == SIGNATURE_LINE
        && lines[3].trim().len() == COMMENT_LINE;
    if !whole {
        return Err(unreadable(
            "it is not the four whole lines of a minisign signature",
        ));
    }
    let signature =
        SignatureBox::from_string(text).map_err(|error| unreadable(&error.to_string()))?;
    if signature.is_prehashed() {
        Ok(signature)
    } else {
        Err(SignatureError::Legacy)
    }
}

/// A key's id as minisign prints it: eight bytes, little end first.
fn key_id(number: &[u8]) -> String {
    let big_end_first: Vec<u8> = number.iter().rev().copied().collect();
    hex(&big_end_first).to_uppercase()
}

/// What can go wrong when keys are made or used for signing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// A public key that is none.
    #[error("it is no minisign public key: {what}")]
    PublicKey {
        /// What is wrong.
        what: String,
    },
    /// A secret key that is none, or another password.
    #[error("the secret key cannot be used: {what}")]
    SecretKey {
        /// What is wrong.
        what: String,
    },
    /// A key pair cannot be made.
    #[error("no key pair can be made: {what}")]
    Generate {
        /// Why.
        what: String,
    },
    /// The signature cannot be made.
    #[error("it cannot be signed: {what}")]
    Sign {
        /// Why.
        what: String,
    },
}

/// A new key pair, as the files that minisign reads.
pub struct NewKeys {
    /// The public key's file.
    pub public: String,
    /// The line that a configuration takes.
    pub key: String,
    /// Its id.
    pub id: String,
    /// The secret key's file. To be written for its owner's eyes only, and never shown.
    pub secret: String,
}

/// Whether a secret key is locked.
pub enum Password {
    /// Not at all.
    None,
    /// By a password that is asked for on the terminal.
    Ask,
}

/// Makes a key pair. With [`Password::Ask`] the terminal is asked for a password, twice.
///
/// # Errors
/// [`SigningError::Generate`].
pub fn generate(password: &Password) -> Result<NewKeys, SigningError> {
    let failed = |error: minisign::PError| SigningError::Generate {
        what: error.to_string(),
    };
    let pair = match password {
        Password::None => KeyPair::generate_unencrypted_keypair(),
        Password::Ask => KeyPair::generate_encrypted_keypair(None),
    }
    .map_err(failed)?;
    Ok(NewKeys {
        public: pair.pk.to_box().map_err(failed)?.into_string(),
        key: pair.pk.to_base64(),
        id: key_id(pair.pk.keynum()),
        secret: pair
            .sk
            .to_box(Some("dbmedic policy signing key"))
            .map_err(failed)?
            .into_string(),
    })
}

/// Signs a component. `secret` is the text of a secret key's file; when it is locked, the terminal
/// is asked for its password.
///
/// # Errors
/// [`SigningError::SecretKey`] and [`SigningError::Sign`].
pub fn sign(bytes: &[u8], comment: &Comment, secret: &str) -> Result<String, SigningError> {
    let unusable = |error: minisign::PError| SigningError::SecretKey {
        what: error.to_string(),
    };
    let boxed = || SecretKeyBox::from_string(secret).map_err(unusable);
    let key = match boxed()?.into_unencrypted_secret_key() {
        Ok(key) => key,
        // Locked, or no key at all; the second says which.
        Err(_) => boxed()?.into_secret_key(None).map_err(unusable)?,
    };
    minisign::sign(
        None,
        &key,
        Cursor::new(bytes),
        Some(&comment.to_string()),
        Some("signature of a dbmedic policy"),
    )
    .map(SignatureBox::into_string)
    .map_err(|error| SigningError::Sign {
        what: error.to_string(),
    })
}

/// The key in a public key's file, or in a line that is the key itself.
///
/// # Errors
/// [`SigningError::PublicKey`].
pub fn read_public_key(text: &str) -> Result<String, SigningError> {
    let wrong = |error: minisign::PError| SigningError::PublicKey {
        what: error.to_string(),
    };
    let key = if text.trim().lines().count() > 1 {
        PublicKeyBox::from_string(text)
            .and_then(PublicKeyBox::into_public_key)
            .map_err(wrong)?
    } else {
        PublicKey::from_base64(text.trim()).map_err(wrong)?
    };
    Ok(key.to_base64())
}
