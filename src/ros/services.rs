//! The administrator's services: their messages in our words, at both ends.

use r2r::switchboard::srv::{Close, DisconnectClient, ExportCsv, ListClients, Open};

use super::{convert, desk::DeskService, error::RosError};
use crate::{
    admin::{AdminError, AdminReply, AdminRequest},
    defaults,
    ids::ClientId,
    registry::{ExportRequest, ExportTable, Exported},
    time::Wall,
};

/// What clients are told unless the administrator says something else, as `srv/` documents.
const CLOSED: &str = "closed by the administrator";
const DISCONNECTED: &str = "disconnected by the administrator";

impl DeskService for Open::Service {
    type Asked = AdminRequest;
    type Answered = AdminReply;
    const NAME: &'static str = "open";

    fn request(message: &Open::Request, _now: Wall) -> Result<AdminRequest, AdminError> {
        Ok(AdminRequest::Open {
            address: (!message.address.is_empty()).then(|| message.address.clone()),
            port: (message.port != 0).then_some(message.port),
        })
    }

    fn response(outcome: Result<AdminReply, AdminError>) -> Open::Response {
        match outcome {
            Ok(AdminReply::Opened(endpoint)) => Open::Response {
                success: true,
                message: format!("open on {endpoint}"),
                address: endpoint.ip().to_string(),
                port: endpoint.port(),
            },
            other => Open::Response { message: why_not(other), ..Open::Response::default() },
        }
    }

    fn reply(response: Open::Response) -> Result<Result<AdminReply, AdminError>, RosError> {
        if !response.success {
            return Ok(Err(AdminError(response.message)));
        }
        Ok(Ok(AdminReply::Opened(convert::endpoint(&response.address, response.port)?)))
    }
}

impl DeskService for Close::Service {
    type Asked = AdminRequest;
    type Answered = AdminReply;
    const NAME: &'static str = "close";

    fn request(message: &Close::Request, _now: Wall) -> Result<AdminRequest, AdminError> {
        Ok(AdminRequest::Close { reason: reason(&message.reason, CLOSED)? })
    }

    fn response(outcome: Result<AdminReply, AdminError>) -> Close::Response {
        match outcome {
            Ok(AdminReply::Closed { clients }) => Close::Response { success: true, message: String::new(), clients },
            other => Close::Response { message: why_not(other), ..Close::Response::default() },
        }
    }

    fn reply(response: Close::Response) -> Result<Result<AdminReply, AdminError>, RosError> {
        Ok(if response.success {
            Ok(AdminReply::Closed { clients: response.clients })
        } else {
            Err(AdminError(response.message))
        })
    }
}

impl DeskService for ExportCsv::Service {
    type Asked = AdminRequest;
    type Answered = AdminReply;
    const NAME: &'static str = "export_csv";

    fn request(message: &ExportCsv::Request, now: Wall) -> Result<AdminRequest, AdminError> {
        let table = match message.table.as_str() {
            "" => ExportTable::Clients,
            word => word.parse().map_err(|error| AdminError(format!("{error}")))?,
        };
        for (name, time) in [("start", &message.start), ("end", &message.end)] {
            if time.nanosec >= 1_000_000_000 {
                return Err(AdminError(format!("{name}.nanosec is {}, but has to be below 1000000000", time.nanosec)));
            }
        }
        let start = convert::optional_wall(&message.start);
        let end = convert::optional_wall(&message.end);
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(AdminError(format!("start ({}) is later than end ({})", seconds(start), seconds(end))));
        }
        Ok(AdminRequest::Export(ExportRequest {
            table,
            file_name: message.file_name.clone(),
            start,
            end,
            overwrite: message.overwrite,
            now,
        }))
    }

    fn response(outcome: Result<AdminReply, AdminError>) -> ExportCsv::Response {
        match outcome {
            Ok(AdminReply::Exported(exported)) => ExportCsv::Response {
                success: true,
                message: String::new(),
                path: convert::text(&exported.path.to_string_lossy()),
                rows: exported.rows,
            },
            other => ExportCsv::Response { message: why_not(other), ..ExportCsv::Response::default() },
        }
    }

    fn reply(response: ExportCsv::Response) -> Result<Result<AdminReply, AdminError>, RosError> {
        Ok(if response.success {
            Ok(AdminReply::Exported(Exported { path: response.path.into(), rows: response.rows }))
        } else {
            Err(AdminError(response.message))
        })
    }
}

impl DeskService for ListClients::Service {
    type Asked = AdminRequest;
    type Answered = AdminReply;
    const NAME: &'static str = "list_clients";

    fn request(message: &ListClients::Request, _now: Wall) -> Result<AdminRequest, AdminError> {
        Ok(AdminRequest::ListClients { connected_only: message.connected_only })
    }

    fn response(outcome: Result<AdminReply, AdminError>) -> ListClients::Response {
        match outcome {
            Ok(AdminReply::Clients(clients)) => ListClients::Response {
                success: true,
                message: String::new(),
                clients: clients.iter().map(convert::client_message).collect(),
            },
            other => ListClients::Response { message: why_not(other), ..ListClients::Response::default() },
        }
    }

    fn reply(response: ListClients::Response) -> Result<Result<AdminReply, AdminError>, RosError> {
        if !response.success {
            return Ok(Err(AdminError(response.message)));
        }
        let clients = response.clients.iter().map(convert::client_status).collect::<Result<_, _>>()?;
        Ok(Ok(AdminReply::Clients(clients)))
    }
}

impl DeskService for DisconnectClient::Service {
    type Asked = AdminRequest;
    type Answered = AdminReply;
    const NAME: &'static str = "disconnect_client";

    fn request(message: &DisconnectClient::Request, _now: Wall) -> Result<AdminRequest, AdminError> {
        Ok(AdminRequest::DisconnectClient {
            id: ClientId::new(&message.id).map_err(|error| AdminError(error.to_string()))?,
            reason: reason(&message.reason, DISCONNECTED)?,
        })
    }

    fn response(outcome: Result<AdminReply, AdminError>) -> DisconnectClient::Response {
        match outcome {
            Ok(AdminReply::Disconnected) => DisconnectClient::Response { success: true, message: String::new() },
            other => DisconnectClient::Response { success: false, message: why_not(other) },
        }
    }

    fn reply(response: DisconnectClient::Response) -> Result<Result<AdminReply, AdminError>, RosError> {
        Ok(if response.success { Ok(AdminReply::Disconnected) } else { Err(AdminError(response.message)) })
    }
}

fn reason(given: &str, default: &str) -> Result<String, AdminError> {
    if given.len() > defaults::REASON_MAX {
        return Err(AdminError(format!("the reason has {} bytes; use at most {}", given.len(), defaults::REASON_MAX)));
    }
    Ok(if given.is_empty() { default.to_owned() } else { given.to_owned() })
}

/// The words of a refusal. A reply to another request would be a fault of the exchange; it is said, not hidden.
fn why_not(outcome: Result<AdminReply, AdminError>) -> String {
    match outcome {
        Ok(reply) => convert::text(&format!("the exchange answered something else: {reply:?}")),
        Err(AdminError(words)) => convert::text(&words),
    }
}

fn seconds(wall: Wall) -> String {
    let (seconds, nanoseconds) = wall.split();
    format!("{seconds}.{nanoseconds:09}")
}

#[cfg(test)]
mod tests {
    use r2r::builtin_interfaces::msg::Time;

    use super::{super::convert::tests::a_client, *};
    use crate::status::ClientState;

    const NOW: Wall = Wall(77);

    fn there_and_back<S: DeskService<Asked = AdminRequest, Answered = AdminReply>>(reply: AdminReply) {
        assert_eq!(S::reply(S::response(Ok(reply.clone()))).unwrap().unwrap(), reply);
        let refused = AdminError("not today".to_owned());
        assert_eq!(S::reply(S::response(Err(refused.clone()))).unwrap().unwrap_err(), refused);
    }

    #[test]
    fn replies_are_the_same_after_there_and_back() {
        there_and_back::<Open::Service>(AdminReply::Opened("[::1]:7420".parse().unwrap()));
        there_and_back::<Close::Service>(AdminReply::Closed { clients: 3 });
        there_and_back::<ExportCsv::Service>(AdminReply::Exported(Exported { path: "/x/y.csv".into(), rows: 9 }));
        there_and_back::<ListClients::Service>(AdminReply::Clients(vec![a_client("r1", ClientState::On)]));
        there_and_back::<DisconnectClient::Service>(AdminReply::Disconnected);
    }

    #[test]
    fn empty_fields_mean_the_defaults() {
        assert_eq!(
            Open::Service::request(&Open::Request::default(), NOW).unwrap(),
            AdminRequest::Open { address: None, port: None }
        );
        assert_eq!(
            Close::Service::request(&Close::Request::default(), NOW).unwrap(),
            AdminRequest::Close { reason: CLOSED.to_owned() }
        );
        assert_eq!(
            ExportCsv::Service::request(&ExportCsv::Request::default(), NOW).unwrap(),
            AdminRequest::Export(ExportRequest {
                table: ExportTable::Clients,
                file_name: String::new(),
                start: None,
                end: None,
                overwrite: false,
                now: NOW,
            })
        );
    }

    #[test]
    fn wrong_fields_are_refused_with_words() {
        let export = |request| ExportCsv::Service::request(&request, NOW).unwrap_err().0;
        let table = ExportCsv::Request { table: "robots".to_owned(), ..ExportCsv::Request::default() };
        assert!(export(table).contains("use clients, sessions or events"));
        let nanos =
            ExportCsv::Request { end: Time { sec: 1, nanosec: 1_000_000_000 }, ..ExportCsv::Request::default() };
        assert!(export(nanos).contains("end.nanosec is 1000000000"));
        let order = ExportCsv::Request {
            start: Time { sec: 2, nanosec: 0 },
            end: Time { sec: 1, nanosec: 5 },
            ..ExportCsv::Request::default()
        };
        assert_eq!(export(order), "start (2.000000000) is later than end (1.000000005)");
        let id = DisconnectClient::Request { id: "no/id".to_owned(), ..DisconnectClient::Request::default() };
        assert!(DisconnectClient::Service::request(&id, NOW).unwrap_err().0.contains("no/id"));
        let long = Close::Request { reason: "x".repeat(defaults::REASON_MAX + 1) };
        assert!(Close::Service::request(&long, NOW).unwrap_err().0.contains("use at most"));
    }

    #[test]
    fn an_answer_to_another_question_is_said() {
        let response = Close::Service::response(Ok(AdminReply::Disconnected));
        assert!(!response.success && response.message.contains("something else"));
    }
}
