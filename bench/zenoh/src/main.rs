//! A zenoh router, or a zenoh bridge for ROS 2, made from the crates that the programs of zenoh's authors are made from
//! (`zenohd` and `zenoh-bridge-ros2dds`). Loopback only: nothing is found by multicast, and nothing listens that was not
//! asked for. That the plugin's Cyclone DDS stays on loopback too is said by whoever starts this, in CYCLONEDDS_URI.

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use serde_json::json;
use zenoh::{
    Config,
    internal::{plugins::PluginsManager, runtime::RuntimeBuilder},
};
use zenoh_plugin_ros2dds::ROS2Plugin;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The hub.
    Router {
        /// Where to listen, such as tcp/127.0.0.1:7447.
        #[arg(long)]
        listen: String,
    },
    /// Joins one ROS domain to the hub.
    Bridge {
        /// Where the router listens.
        #[arg(long)]
        connect: String,
        /// The ROS domain.
        #[arg(long, env = "ROS_DOMAIN_ID")]
        domain: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    zenoh::init_log_from_env_or("warn");
    let role = Arguments::parse().role;
    let config = config(&role)?;
    let mut plugins = PluginsManager::static_plugins_only();
    if matches!(role, Role::Bridge { .. }) {
        plugins.declare_static_plugin::<ROS2Plugin, &str>("ros2dds", true);
    }
    let runtime = RuntimeBuilder::new(config).plugins_manager(plugins).build().await;
    let mut runtime = runtime.map_err(|error| anyhow!("zenoh cannot be set up: {error}"))?;
    runtime.start().await.map_err(|error| anyhow!("zenoh does not start: {error}"))?;
    // Whoever started this holds the other end; the system closes it even if that program is killed.
    let parent = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        ended = parent => ended?.map(drop).context("cannot read standard input"),
        signal = tokio::signal::ctrl_c() => signal.context("cannot wait for a signal"),
    }?;
    // The plugin's threads do not end by themselves.
    std::process::exit(0)
}

/// What `zenohd` and `zenoh-bridge-ros2dds` set, plus loopback only.
fn config(role: &Role) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let mut set = |key: &str, value: serde_json::Value| {
        config.insert_json5(key, &value.to_string()).map_err(|error| anyhow!("zenoh refuses {key} = {value}: {error}"))
    };
    set("scouting/multicast/enabled", json!(false))?;
    set("timestamping/enabled", json!(true))?;
    set("adminspace/enabled", json!(true))?;
    set("plugins_loading/enabled", json!(true))?;
    match role {
        Role::Router { listen } => {
            set("mode", json!("router"))?;
            set("listen/endpoints", json!([listen]))?;
        }
        Role::Bridge { connect, domain } => {
            set("mode", json!("client"))?;
            set("connect/endpoints", json!([connect]))?;
            set("plugins/ros2dds/domain", json!(domain))?;
            set("plugins/ros2dds/ros_localhost_only", json!(false))?;
            set("plugins/ros2dds/ros_automatic_discovery_range", json!("LOCALHOST"))?;
        }
    }
    Ok(config)
}
