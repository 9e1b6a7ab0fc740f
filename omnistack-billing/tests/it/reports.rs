//! Tests of reports.

#![cfg(test)]
