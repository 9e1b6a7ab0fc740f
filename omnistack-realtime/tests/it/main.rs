//! Tests of realtime through its public door: real sockets, real databases.

mod admin;
#[cfg(feature = "client")]
mod client;
mod codes;
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
mod sse;
mod support;
mod ticket;
mod websocket;
