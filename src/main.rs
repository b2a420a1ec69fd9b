//! Parse and dispatch; everything else lives in the library.

fn main() {}
