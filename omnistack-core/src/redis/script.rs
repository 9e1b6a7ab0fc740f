//! Scripts that run several commands in Redis.

use std::sync::OnceLock;

use fred::{
    error::Error as FredError,
    interfaces::LuaInterface,
    types::{MultipleKeys, Value},
};

/// Lua script that is sent once and then called by its hash.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(super) const fn new(text: &'static str) -> Self {
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
