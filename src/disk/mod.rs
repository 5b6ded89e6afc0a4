//! What the rest builds on when it works with files: open directories, stable storage, holes, and what file systems lack.

pub mod dir;
pub mod durable;
pub mod file_system;
pub mod holes;
