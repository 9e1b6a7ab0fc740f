//! Tests of quotas.

#![cfg(test)]
