//! Scripts that run several commands in Redis, and their values.

use std::sync::OnceLock;

use bytes::Bytes;
use fred::{
    error::Error as FredError,
    interfaces::LuaInterface,
    types::{MultipleKeys, Value},
};

/// A Lua script that is sent once and then called by its hash, by [`Redis::run_script`](super::Redis::run_script). No
/// other command runs in Redis while a script runs.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// Creates a script from its text.
    pub const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    pub(super) async fn call<C>(&self, client: &C, keys: MultipleKeys, values: Vec<Value>) -> Result<Value, FredError>
    where
        C: LuaInterface + Sync,
    {
        if let Some(hash) = self.hash.get() {
            match client.evalsha(hash.clone(), keys.clone(), values.clone()).await {
                // The server was restarted or replaced.
                Err(error) if error.details().starts_with("NOSCRIPT") => {}
                result => return result,
            }
        }
        let hash: String = client.script_load(self.text).await?;
        let hash = self.hash.get_or_init(|| hash).clone();
        client.evalsha(hash, keys, values).await
    }
}

/// An argument or a result of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisValue {
    /// No value: `false` or `nil` in Lua.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text or bytes.
    Bytes(Bytes),
    /// A list: a table in Lua.
    List(Vec<RedisValue>),
}

impl RedisValue {
    /// Returns the text, or `None` if the value is none.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Returns the number, also that of a text that is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => self.as_str()?.parse().ok(),
        }
    }

    /// Returns the items of a list, or none if the value is no list.
    pub fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(items) => items,
            _ => Vec::new(),
        }
    }

    pub(super) fn from_client(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from_client).collect()),
            other => other.into_bytes().map_or(Self::Null, Self::Bytes),
        }
    }

    pub(super) fn into_client(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(number),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_client).collect()),
        }
    }
}

impl From<i64> for RedisValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Bytes> for RedisValue {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for RedisValue {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&str> for RedisValue {
    fn from(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        /// All scripts.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            pub(super) const fn new() -> Self {
                Self { $($name: Script::new(concat!(include_str!("lua/prelude.lua"), include_str!($file))),)* }
            }
        }
    };
}

scripts! {
    get = "lua/get.lua";
    set = "lua/set.lua";
    delete = "lua/delete.lua";
    ttl = "lua/ttl.lua";
    expire = "lua/expire.lua";
    increment = "lua/increment.lua";
    hash_set = "lua/hash_set.lua";
    set_add = "lua/set_add.lua";
    lock = "lua/lock.lua";
    lease = "lua/lease.lua";
    fill = "lua/fill.lua";
    extend = "lua/extend.lua";
    release = "lua/release.lua";
}
