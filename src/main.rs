//! The `sunstar` binary.

fn main() -> std::process::ExitCode {
    sunstar::server::main()
}
