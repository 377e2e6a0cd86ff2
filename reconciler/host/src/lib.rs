//! The program that runs on a host: it observes, stages, and carries transactions out. No shell, no configuration of its own.
