//! The command line `switchboard`.

fn main() -> std::process::ExitCode {
    switchboard::cli::main()
}
