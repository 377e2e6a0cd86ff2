//! Tests of the whole: the shape of the house, and the program as its user runs it.

mod architecture;
mod capabilities;
mod cases;
mod cli;
mod copy;
mod example;
mod monitoring;
mod plan;
mod site;
