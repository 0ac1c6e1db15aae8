//! `check` of an upstream: which keys it has, and what those left out mean.

use std::fmt;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Name;
use super::proxy::{Number, number, three};

/// `check = { path = "/", … }`: requests that are sent to all servers from time to time, whether there is traffic or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckTable {
    /// What is asked for.
    pub path: Name,
    /// Of which host; absent: the server's address.
    pub host: Option<Name>,
    /// Which statuses are good; absent: 200 to 399.
    pub expect: Option<Spanned<Statuses>>,
    /// How often, in milliseconds.
    #[serde(default = "five_seconds")]
    pub interval_ms: Number,
    /// How long it may take, in milliseconds.
    #[serde(default = "one_second")]
    pub timeout_ms: Number,
    /// So many good answers in a row, and a server that was left out is asked again.
    #[serde(default = "two")]
    pub rise: Number,
    /// So many failures in a row, and a server is left out.
    #[serde(default = "three")]
    pub fall: Number,
}

fn one_second() -> Number {
    number(1_000)
}

fn five_seconds() -> Number {
    number(5_000)
}

fn two() -> Number {
    number(2)
}

/// `200`, or `[200, 204]`.
#[derive(Clone, Debug)]
pub enum Statuses {
    /// This alone.
    One(u64),
    /// Any of these, each with its place.
    Several(Vec<Number>),
}

// By hand: what is untagged loses the places of its elements.
impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusesVisitor)
    }
}

struct StatusesVisitor;

impl<'de> Visitor<'de> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status or a list of statuses")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Statuses, E> {
        Ok(Statuses::One(status))
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<Statuses, E> {
        u64::try_from(status)
            .map(Statuses::One)
            .map_err(|_| E::invalid_value(Unexpected::Signed(status), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
        let mut statuses = Vec::new();
        while let Some(status) = list.next_element()? {
            statuses.push(status);
        }
        Ok(Statuses::Several(statuses))
    }
}
