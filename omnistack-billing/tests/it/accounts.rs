//! Tests of accounts.

#![cfg(test)]
