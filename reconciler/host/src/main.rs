//! The command line of the host program.

fn main() {}
