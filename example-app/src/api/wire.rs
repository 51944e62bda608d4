//! The scalars of etcd's JSON: bytes as base64, 64-bit integers as strings, enums by name or number, and
//! `null` for whatever is left at its default.

use std::{fmt, marker::PhantomData};

use base64::{Engine, display::Base64Display, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serializer, de};

/// Reads base64: the standard alphabet, padded.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a base64 string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
            STANDARD.decode(text).map(Bytes::from).map_err(|error| {
                E::custom(format_args!(
                    "illegal base64 (the standard alphabet with padding is expected): {error}"
                ))
            })
        }

        fn visit_unit<E>(self) -> Result<Bytes, E> {
            Ok(Bytes::new())
        }
    }

    deserializer.deserialize_any(Visitor)
}

/// Reads a 64-bit integer from a number or a string.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a 64-bit integer, as a string or a number")
        }

        fn visit_i64<E>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_unit<E>(self) -> Result<i64, E> {
            Ok(0)
        }
    }

    deserializer.deserialize_any(Visitor)
}

/// Reads anything that may be `null`.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An enum of etcd's: its names, in the order of their numbers.
pub(super) trait Named: Copy + Default + 'static {
    /// What each number and name stands for.
    const NAMES: &'static [(&'static str, Self)];
}

/// Reads an enum from its name or its number.
pub(super) fn named<'de, D: Deserializer<'de>, T: Named>(deserializer: D) -> Result<T, D::Error> {
    struct Visitor<T>(PhantomData<T>);

    impl<T: Named> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one of")?;
            T::NAMES.iter().enumerate().try_for_each(|(number, (name, _))| write!(f, " {name} ({number})"))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            let found = usize::try_from(number).ok().and_then(|number| T::NAMES.get(number));
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let found = T::NAMES.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_unit<E>(self) -> Result<T, E> {
            Ok(T::default())
        }
    }

    deserializer.deserialize_any(Visitor(PhantomData))
}

/// Writes bytes as base64.
pub(super) fn write_bytes<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
}

/// Writes a 64-bit integer as a string.
pub(super) fn write_number<S: Serializer>(
    number: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Whether a field is at its default, and so left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
