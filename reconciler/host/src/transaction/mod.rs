//! Transactions: typed steps carried out with a journal, forward or back, through any crash.

pub mod machine;
