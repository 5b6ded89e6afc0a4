//! Tells cargo about directories whose files become part of the binary: without it, a new file there is not noticed.

fn main() {
    for directory in ["web", "src/tracker/migrations", "src/tracker/token_migrations"] {
        println!("cargo:rerun-if-changed={directory}");
    }
}
