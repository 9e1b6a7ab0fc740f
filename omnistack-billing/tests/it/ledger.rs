//! Tests of ledger.

#![cfg(test)]
