//! Between the ROS parameters, as the nodes declare them, and the configuration, which checks their values.

use crate::{
    config::{RawClient, RawServer},
    ros::{ClientParameters, ServerParameters},
};

/// What the server's node declares its parameters with.
pub(super) fn server_defaults() -> ServerParameters {
    let raw = RawServer::default();
    ServerParameters {
        address: raw.address,
        port: raw.port,
        open_on_start: raw.open_on_start,
        database: raw.database,
        export_directory: raw.export_directory,
        max_clients: raw.max_clients,
        login_timeout: raw.login_timeout,
        ping_period: raw.ping_period,
        keep_alive_timeout: raw.keep_alive_timeout,
        status_period: raw.status_period,
        frame_id: raw.frame_id,
    }
}

/// The server's parameters, for the configuration.
pub(super) fn raw_server(parameters: ServerParameters) -> RawServer {
    RawServer {
        address: parameters.address,
        port: parameters.port,
        open_on_start: parameters.open_on_start,
        database: parameters.database,
        export_directory: parameters.export_directory,
        max_clients: parameters.max_clients,
        login_timeout: parameters.login_timeout,
        ping_period: parameters.ping_period,
        keep_alive_timeout: parameters.keep_alive_timeout,
        status_period: parameters.status_period,
        frame_id: parameters.frame_id,
    }
}

/// What a robot's node declares its parameters with, or an operator's, which has the parameter `kind` too.
pub(super) fn client_defaults(has_kind: bool) -> ClientParameters {
    let raw = RawClient::default();
    ClientParameters {
        client_id: raw.client_id,
        display_name: raw.display_name,
        kind: has_kind.then_some(raw.kind),
        server: raw.server,
        rules: raw.rules,
        ping_period: raw.ping_period,
        keep_alive_timeout: raw.keep_alive_timeout,
    }
}

/// A client's parameters, for the configuration.
pub(super) fn raw_client(parameters: ClientParameters) -> RawClient {
    RawClient {
        client_id: parameters.client_id,
        display_name: parameters.display_name,
        kind: parameters.kind.unwrap_or_default(),
        server: parameters.server,
        rules: parameters.rules,
        ping_period: parameters.ping_period,
        keep_alive_timeout: parameters.keep_alive_timeout,
    }
}
