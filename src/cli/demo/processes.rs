//! The processes of the demo: started, listened to, and ended, whatever happens.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

/// How long all processes together may take to end when they are asked to.
const END_TIMEOUT: Duration = Duration::from_secs(8);
/// How long after one process the next is asked to end: the lines say goodbye while the server still listens.
const END_PAUSE: Duration = Duration::from_millis(150);

/// How to start a process: this program again, with other arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    /// Environment variables that it gets.
    pub(super) set: Vec<(&'static str, String)>,
    /// Environment variables that it does not get.
    pub(super) removed: Vec<&'static str>,
}

/// A line that a process wrote to its standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) part: String,
    pub(super) text: String,
}

/// All processes of the demo.
///
/// Each is the leader of a process group of its own, so that Ctrl-C at the terminal reaches only the demo, which ends them
/// in order. Each ends by itself when its standard input ends: the system closes that pipe even if the demo is killed.
pub(super) struct Processes {
    logs: PathBuf,
    lines: mpsc::Sender<Line>,
    running: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
    /// Closing it asks the process to end.
    input: Option<ChildStdin>,
}

impl Processes {
    /// Nobody yet. Logs go into the folder `logs`, whose parent is where the processes run; what they write to standard
    /// output goes to `lines`.
    pub(super) fn new(logs: PathBuf, lines: mpsc::Sender<Line>) -> Self {
        Processes { logs, lines, running: Vec::new() }
    }

    /// Starts a process.
    pub(super) fn start(&mut self, start: &Start) -> anyhow::Result<()> {
        let path = self.log_of(&start.name);
        let log = File::create(&path).with_context(|| format!("the log {} cannot be made", path.display()))?;
        let mut command = command(start)?;
        command
            .arg("--exit-with-parent")
            .current_dir(self.logs.parent().unwrap_or(Path::new(".")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", start.name))?;
        if let Some(output) = child.stdout.take() {
            let (part, lines) = (start.name.clone(), self.lines.clone());
            tokio::spawn(async move {
                let mut texts = BufReader::new(output).lines();
                while let Ok(Some(text)) = texts.next_line().await {
                    if lines.send(Line { part: part.clone(), text }).await.is_err() {
                        break;
                    }
                }
            });
        }
        let input = child.stdin.take();
        self.running.push(Process { name: start.name.clone(), child, input });
        Ok(())
    }

    /// The processes that have ended though nobody asked them to, in words.
    pub(super) fn ended_alone(&mut self) -> Vec<String> {
        self.running
            .iter_mut()
            .filter(|process| process.input.is_some())
            .filter_map(|process| match process.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(format!("{} ({status})", process.name)),
                Err(error) => Some(format!("{} ({error})", process.name)),
            })
            .collect()
    }

    /// Asks all processes to end, the last one first, and makes those end that do not.
    pub(super) async fn stop_all(&mut self) {
        for process in self.running.iter_mut().rev() {
            process.input = None;
            sleep(END_PAUSE).await;
        }
        let until = Instant::now() + END_TIMEOUT;
        for process in &mut self.running {
            if timeout_at(until, process.child.wait()).await.is_err() {
                eprintln!("warning: {} did not end when asked to; it is killed", process.name);
                process.kill();
            }
        }
        self.running.clear();
    }

    /// The log of a process.
    pub(super) fn log_of(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Process {
    /// Ends the process and everything in its group.
    fn kill(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // Fails only if it has ended in this moment.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Process {
    /// The last resort, such as after a failure to start one of the others.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// Runs a process to its end.
pub(super) async fn run_to_end(start: &Start) -> anyhow::Result<Output> {
    command(start)?
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} cannot be started", start.name))
}

fn command(start: &Start) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut command = Command::new(program);
    command.args(&start.arguments).envs(start.set.iter().map(|(name, value)| (name, value)));
    for name in &start.removed {
        command.env_remove(name);
    }
    Ok(command)
}
