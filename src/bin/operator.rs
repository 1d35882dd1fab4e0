//! The program `operator`: the verb of the same name of `switchboard`.

fn main() -> std::process::ExitCode {
    switchboard::cli::operator()
}
