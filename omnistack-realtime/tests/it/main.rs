//! Tests of realtime through its public door: real sockets, real databases.

mod codes;
mod events;
mod isolation;
mod sse;
mod support;
mod ticket;
mod websocket;
