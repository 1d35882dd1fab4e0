//! The exchange as the administrative verbs reach it: the ROS services and the status of its node.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;

use super::Outcome;
use crate::{
    admin::{AdminReply, AdminRequest},
    config::logging::{self, LogLevel, LogSources},
    ros::{AdminClient, AskError, RosError},
    status::ServerStatus,
};

/// Where the exchange is in the ROS graph.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct ExchangeFlags {
    /// The server's node
    #[arg(long, value_name = "NAME", default_value = "/switchboard", value_parser = parse_node)]
    pub(super) node: String,
    /// How long to wait for it [s]
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_timeout)]
    pub(super) timeout: Duration,
}

/// The exchange, seen from this program's ROS graph.
pub(super) struct Exchange {
    pub(super) client: AdminClient,
    flags: ExchangeFlags,
}

impl Exchange {
    /// Joins the ROS graph. Has to be called inside a runtime.
    pub(super) fn reach(flags: &ExchangeFlags) -> anyhow::Result<Self> {
        let client = AdminClient::connect(&flags.node).context("the ROS graph cannot be joined")?;
        Ok(Exchange { client, flags: flags.clone() })
    }

    /// Asks for something to be done.
    pub(super) async fn ask(&self, request: AdminRequest) -> anyhow::Result<AdminReply> {
        self.client.ask(request, self.flags.timeout).await.map_err(|error| match error {
            AskError::Ros(error) => self.explained(error),
            AskError::Refused(refusal) => anyhow::anyhow!("the exchange refuses: {refusal}"),
        })
    }

    /// The latest status.
    pub(super) async fn status(&self) -> anyhow::Result<Arc<ServerStatus>> {
        self.client.wait_for_status(self.flags.timeout).await.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: RosError) -> anyhow::Error {
        match error {
            RosError::Timeout(reason) => {
                let looked = Surroundings::of_this_process().explain(&self.flags.node, "/…/switchboard");
                anyhow::anyhow!("{reason}\n{looked}")
            }
            other => other.into(),
        }
    }
}

/// Runs `verb` with ROS, which needs a runtime.
pub(super) fn with_exchange<F: Future<Output = anyhow::Result<Outcome>>>(
    flags: &ExchangeFlags,
    verb: impl FnOnce(Exchange) -> F,
) -> anyhow::Result<Outcome> {
    quiet_logging()?;
    runtime()?.block_on(async { verb(Exchange::reach(flags)?).await })
}

/// A runtime for a verb.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the program's threads cannot be started")
}

/// Logs what is likely to go wrong, unless the environment asks for more: the answer is what counts.
pub(super) fn quiet_logging() -> anyhow::Result<()> {
    let mut sources = LogSources::of_this_process(None, None);
    if sources.variable.is_none() && sources.rust_variable.is_none() {
        sources.flag = Some(LogLevel::Warn);
    }
    logging::start(sources.filter()?);
    Ok(())
}

/// What decides which nodes this program sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    pub(super) domain: Option<String>,
    pub(super) range: Option<String>,
    pub(super) localhost_only: Option<String>,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        Surroundings {
            domain: variable("ROS_DOMAIN_ID"),
            range: variable("ROS_AUTOMATIC_DISCOVERY_RANGE"),
            localhost_only: variable("ROS_LOCALHOST_ONLY"),
        }
    }

    /// Whether only nodes of this machine are seen.
    pub(super) fn only_this_machine(&self) -> bool {
        match self.localhost_only.as_deref() {
            Some("1") => true,
            _ => self.range.as_deref().is_some_and(|range| range.eq_ignore_ascii_case("LOCALHOST")),
        }
    }

    /// Where was looked for `node`, and what to do if that was the wrong place. `other` is another name that it may have.
    pub(super) fn explain(&self, node: &str, other: &str) -> String {
        let domain = self.domain.as_deref().unwrap_or("0");
        let range = match (self.only_this_machine(), self.range.as_deref()) {
            (true, _) => "nodes of this machine only (LOCALHOST)",
            (false, Some(range)) if range.eq_ignore_ascii_case("OFF") => "no other nodes at all (OFF)",
            (false, Some(range)) => range,
            (false, None) => "the local network (SUBNET)",
        };
        let mut lines =
            vec![format!("  looked in ROS_DOMAIN_ID {domain}, with discovery of {range}, for the node {node}")];
        lines.push("  - is it in another domain?             ROS_DOMAIN_ID=… switchboard …".to_owned());
        if self.only_this_machine() {
            lines.push(
                "  - is it on another machine?            ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET on both".to_owned(),
            );
        }
        lines.push(format!("  - has it another name or namespace?    --node {other}"));
        lines.push("  - what else may be wrong?              switchboard doctor".to_owned());
        lines.join("\n")
    }
}

pub(super) fn parse_node(text: &str) -> Result<String, String> {
    let name = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let is_token = |token: &str| {
        token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if name[1..].split('/').all(is_token) {
        Ok(name)
    } else {
        Err(format!("{text:?} is not the name of a node; use one such as /switchboard or /lab/switchboard"))
    }
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3_600.0).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text:?} is not a time-out; use 0.1 to 3600 seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sees_no_server_is_told_where_was_looked_and_what_to_do() {
        let text = Surroundings::default().explain("/switchboard", "/…/switchboard");
        assert!(
            text.contains("ROS_DOMAIN_ID 0, with discovery of the local network (SUBNET), for the node /switchboard"),
            "{text}"
        );
        assert!(!text.contains("is it on another machine?"), "{text}");
        let here =
            Surroundings { domain: Some("61".to_owned()), range: Some("localhost".to_owned()), localhost_only: None };
        let text = here.explain("/lab/switchboard", "/…/switchboard");
        assert!(text.contains("ROS_DOMAIN_ID 61, with discovery of nodes of this machine only (LOCALHOST)"), "{text}");
        assert!(text.contains("on another machine?"), "{text}");
    }

    #[test]
    fn node_names_are_checked_and_completed() {
        assert_eq!(parse_node("switchboard").unwrap(), "/switchboard");
        assert_eq!(parse_node("/lab/switchboard").unwrap(), "/lab/switchboard");
        for bad in ["", "/", "/lab/", "a b", "/1x"] {
            assert!(parse_node(bad).unwrap_err().contains("is not the name of a node"), "{bad}");
        }
    }

    #[test]
    fn timeouts_are_seconds() {
        assert_eq!(parse_timeout("0.5").unwrap(), Duration::from_millis(500));
        for bad in ["0", "-1", "nan", "soon", "1e9"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }
}
