//! Fakes, generators and lab access for the tests.

pub mod canary;
pub mod example;
pub mod fake_host;
pub mod host;
pub mod json_schema;
pub mod lab;
pub mod load;
pub mod ops;
pub mod quick;
pub mod sink;
