//! End to end on real hosts: sshd, systemd, nginx, dockerd, PostgreSQL, Redis. Run by `./check` where the lab can be had.

mod access;
mod approval;
mod backups;
mod crash;
mod crew;
mod daemon;
mod drift;
mod first_steps;
mod host_program;
mod images;
mod journals;
mod lockout;
mod quoting;
mod secrets;
mod story;
mod strategies;
mod systems;
mod unattended;
mod verbs;
