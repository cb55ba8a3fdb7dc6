//! The parameter `rules`, and what is made of it.

use std::borrow::Cow;
use std::fmt;

use dbmedic_policy::{Parameter, Parameters, SettingFault, Value};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document;

/// The specification's rules, which hold where `rules` is not set.
pub const DEFAULT_RULES: &str = include_str!("../default.rules.toml");

const NAME: &str = "rules";

/// Up to here the rules are kept as they are, bytes; above, they are compressed. It lies below the
/// contract's 16 KiB, and few documents come near it: these are read without being decompressed.
const PLAIN_BYTES: usize = 15 << 10;
/// No document is larger when it is decompressed.
const MOST_BYTES: usize = 256 << 10;

/// The first byte of rules that are kept as they are, and of compressed ones.
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

/// The compiled rules, as they are kept in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Vec<u8>);

impl Rules {
    fn compile(text: &str) -> Result<Self, Vec<String>> {
        let bytes = document::compile(text)?;
        if bytes.len() > MOST_BYTES {
            return Err(vec!["these are too many rules".to_owned()]);
        }
        Ok(Self(if bytes.len() <= PLAIN_BYTES {
            [&[PLAIN][..], &bytes].concat()
        } else {
            let compressed = lz4_flex::block::compress_prepend_size(&bytes);
            [&[COMPRESSED][..], &compressed].concat()
        }))
    }

    /// What [`document::compile`] gave.
    pub(crate) fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        let (mark, rest) = self.0.split_first()?;
        match *mark {
            PLAIN => Some(Cow::Borrowed(rest)),
            COMPRESSED => {
                let (length, rest) = lz4_flex::block::uncompressed_size(rest).ok()?;
                (length <= MOST_BYTES)
                    .then(|| lz4_flex::block::decompress(rest, length).ok())?
                    .map(Cow::Owned)
            }
            _ => None,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        // A test holds that these are right; without any rule there is no answer.
        Self::compile(DEFAULT_RULES).unwrap_or_else(|_| Self(Vec::new()))
    }
}

impl Parameters for Rules {
    fn schema() -> Vec<Parameter> {
        vec![Parameter {
            name: NAME.into(),
            summary: "The rules, a TOML document; without it, those of the specification hold."
                .into(),
            default: Value::Text(String::new()),
            minimum: None,
            maximum: None,
        }]
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), SettingFault> {
        if name != NAME {
            return Err(SettingFault::UnknownName);
        }
        let Value::Text(text) = value else {
            return Err(SettingFault::WrongType("a text that holds rules"));
        };
        // As in the schema: the default is empty.
        if !text.is_empty() {
            *self = Self::compile(text).map_err(SettingFault::Invalid)?;
        }
        Ok(())
    }
}

// As one run of bytes: postcard would read them one by one otherwise.
impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Rules;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("compiled rules")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Rules, E> {
                Ok(Rules(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
