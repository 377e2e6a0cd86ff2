//! How a plan becomes transactions, and how a change rolls over hosts.
