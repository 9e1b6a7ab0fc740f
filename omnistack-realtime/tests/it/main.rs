//! Tests of realtime through its public door: real sockets, real databases.

mod admin;
mod asyncapi;
#[cfg(feature = "client")]
mod client;
mod codes;
mod counters;
mod events;
mod feeds;
mod isolation;
mod live;
mod maintenance;
mod notifications;
mod peers;
mod procedures;
mod publish;
mod replicas;
mod settings;
mod sse;
mod support;
mod ticket;
mod websocket;
