//! Tests of wallets.

#![cfg(test)]
