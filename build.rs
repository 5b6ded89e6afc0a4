//! Tells cargo about folders whose files become part of the binary: without it, a new file there is not noticed.

fn main() {
    for folder in ["web", "src/tracker/migrations", "src/tracker/token_migrations"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
