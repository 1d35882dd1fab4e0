//! The exchange over real TCP and with its real registry, without ROS.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use switchboard::{
    admin::{AdminError, AdminReply, AdminRequest},
    config::{Environment, RawServer, ServerConfig},
    ids::{ChannelId, ClientId, FeedId, PublisherId},
    model::{ClientKind, Qos, TopicInfo},
    net::{Dial, Dialler, Event, Handle, What},
    node::exchange::{self, AdminQuery},
    registry::{ExportRequest, ExportTable},
    session::{End, Timing},
    status::{ClientState, ServerStatus},
    store::Store,
    time::Wall,
    wire::{Cause, Data, Decoder, Feed, Flow, Frame, Interests, Item, Login, Offer, Subscription, Version},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Long enough for a loaded machine; every wait is for a condition and ends as soon as it holds.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    directory: Arc<tempfile::TempDir>,
    admin: mpsc::Sender<AdminQuery>,
    status: watch::Receiver<Arc<ServerStatus>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), 0).await
    }

    async fn start_in(directory: Arc<tempfile::TempDir>, port: i64) -> Self {
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let raw = RawServer {
            port,
            database: path("registry.db"),
            export_directory: path("export"),
            login_timeout: 1.0,
            ping_period: 0.1,
            keep_alive_timeout: 1.0,
            ..RawServer::default()
        };
        let environment = Environment { home: None, ros_home: None, host_name: "test".to_owned() };
        let config = ServerConfig::new(&Default::default(), &raw, &environment).unwrap();
        let store = Store::open(&config.database, switchboard::net::now().wall).unwrap();
        let (admin, requests) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel();
        let empty = ServerStatus {
            stamp: Wall(0),
            endpoint: None,
            closed_reason: String::new(),
            clients: vec![],
            refused: 0,
            suppressed: 0,
        };
        let (sender, status) = watch::channel(Arc::new(empty));
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            exchange::run(&config, store.handle(), requests, sender, stopped).await;
            store.close().unwrap();
        });
        let mut server = Server { directory, admin, status, stop: Some(stop), task };
        server.wait(|status| status.endpoint.is_some()).await;
        server
    }

    async fn wait(&mut self, condition: impl FnMut(&Arc<ServerStatus>) -> bool) -> Arc<ServerStatus> {
        timeout(PATIENCE, self.status.wait_for(condition)).await.expect("in time").unwrap().clone()
    }

    async fn wait_for_state(&mut self, id: &str, state: ClientState) {
        self.wait(|status| status.clients.iter().any(|client| client.id.as_str() == id && client.state == state)).await;
    }

    async fn ask(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let (reply, answer) = oneshot::channel();
        self.admin.send((request, reply)).await.unwrap();
        timeout(PATIENCE, answer).await.expect("in time").unwrap()
    }

    fn port(&self) -> u16 {
        self.status.borrow().endpoint.unwrap().port()
    }

    async fn stop(mut self) -> Arc<tempfile::TempDir> {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.task).await.expect("in time").unwrap();
        Arc::clone(&self.directory)
    }
}

/// A client that reconnects by itself.
struct Client {
    _dialler: Dialler,
    events: mpsc::Receiver<Event>,
    handle: Option<Handle>,
}

impl Client {
    fn dial(id: &str, port: u16) -> Self {
        let timing = Timing {
            ping_period: Duration::from_millis(100),
            keep_alive_timeout: Duration::from_secs(1),
            ..Timing::default()
        };
        let dial = Dial { host: "127.0.0.1".to_owned(), port, login: login(id), timing };
        let (sender, events) = mpsc::channel(64);
        Client { _dialler: Dialler::start(dial, sender), events, handle: None }
    }

    async fn join(id: &str, port: u16) -> Self {
        let mut client = Client::dial(id, port);
        client.wait_for(|what| matches!(what, What::Welcomed(_)).then_some(())).await;
        client
    }

    async fn wait_for<T>(&mut self, mut pick: impl FnMut(&What) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the dialler never ends");
                if let What::Opened { handle, .. } = &event.what {
                    self.handle = Some(handle.clone());
                }
                if let Some(found) = pick(&event.what) {
                    return found;
                }
            }
        })
        .await
        .expect("in time")
    }

    async fn end(&mut self) -> End {
        self.wait_for(|what| if let What::Ended(end) = what { Some(end.clone()) } else { None }).await
    }

    async fn feed(&mut self) -> Feed {
        self.wait_for(|what| match what {
            What::Frame(Frame::FeedsOpen(feeds)) => feeds.first().cloned(),
            _ => None,
        })
        .await
    }

    async fn data(&mut self) -> Data {
        self.wait_for(|what| if let What::Frame(Frame::Data(data)) = what { Some(data.clone()) } else { None }).await
    }

    fn send(&self, frame: &Frame) {
        self.handle.as_ref().unwrap().link().send_control(frame);
    }

    fn send_data(&self, channel: u32, sequence: u64, payload: Bytes) {
        let frame = Frame::Data(Data {
            id: channel,
            publisher: PublisherId(0),
            keep: 0,
            sequence,
            source_time: Wall(1),
            payload,
        });
        let class = switchboard::outbox::Class::State;
        self.handle.as_ref().unwrap().link().send(class, frame.encode().unwrap());
    }
}

fn login(id: &str) -> Login {
    Login {
        id: ClientId::new(id).unwrap(),
        kind: ClientKind::Robot,
        name: id.to_uppercase(),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        capabilities: vec!["topics".to_owned()],
    }
}

fn offer() -> Frame {
    let topic = TopicInfo {
        name: "/odom".to_owned(),
        type_name: "nav_msgs/msg/Odometry".to_owned(),
        type_hash: String::new(),
        qos: Qos::default(),
    };
    Frame::Offers(vec![Offer { channel: ChannelId(1), flow: Flow::State, topic }])
}

fn interests() -> Frame {
    Frame::Interests(Interests { wants: vec!["/*/odom".to_owned()], accepts: vec![], services: vec![] })
}

fn subscribe(feed: FeedId) -> Frame {
    Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: 0, latest_only: false }])
}

/// r1 offers, r2 takes; returns when r1 knows that its topic is wanted.
async fn connect_a_topic(r1: &mut Client, r2: &mut Client) -> FeedId {
    r2.send(&interests());
    r1.send(&offer());
    let feed = r2.feed().await.feed;
    r2.send(&subscribe(feed));
    r1.wait_for(|what| matches!(what, What::Frame(Frame::Demands(demands)) if demands[0].wanted).then_some(())).await;
    feed
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let packet = frame.encode().unwrap();
    [packet.head.as_ref(), packet.body.as_ref()].concat()
}

/// Reads everything until the server closes, and decodes it.
async fn read_to_end(stream: &mut TcpStream) -> Vec<Item> {
    let mut bytes = Vec::new();
    // A reset at the end is as good as an end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("in time");
    let mut buffer = BytesMut::from(bytes.as_slice());
    let mut decoder = Decoder::new();
    decoder.login_done();
    std::iter::from_fn(|| decoder.next(&mut buffer).unwrap()).collect()
}

#[tokio::test]
async fn messages_of_every_size_arrive_whole_in_order_and_once() {
    let server = Server::start().await;
    let mut r1 = Client::join("r1", server.port()).await;
    let mut r2 = Client::join("r2", server.port()).await;
    let feed = connect_a_topic(&mut r1, &mut r2).await;
    for (sequence, size) in [0, 1, 100, 5_000, 70_000, 3_000_000, 12].into_iter().enumerate() {
        let payload = Bytes::from(vec![sequence as u8; size]);
        r1.send_data(1, sequence as u64, payload.clone());
        let data = r2.data().await;
        assert_eq!((data.id, data.sequence), (feed.0, sequence as u64));
        assert_eq!(data.payload, payload);
    }
}

#[tokio::test]
async fn a_second_client_of_the_same_id_is_told_why_and_gets_in_when_the_first_is_gone() {
    let mut server = Server::start().await;
    let first = Client::join("r1", server.port()).await;
    let mut second = Client::dial("r1", server.port());
    let end = second.end().await;
    assert_eq!((end.farewell.cause, end.ours), (Cause::DuplicateId, false));
    assert!(end.farewell.reason.contains("\"r1\" is connected already"), "{}", end.farewell);
    server.wait(|status| status.refused > 0).await;
    drop(first);
    second.wait_for(|what| matches!(what, What::Welcomed(_)).then_some(())).await;
}

#[tokio::test]
async fn closing_tells_everybody_and_opening_takes_them_back() {
    let mut server = Server::start().await;
    let mut client = Client::join("r1", server.port()).await;
    let port = server.port();
    let reply = server.ask(AdminRequest::Close { reason: "maintenance".to_owned() }).await;
    assert_eq!(reply, Ok(AdminReply::Closed { clients: 1 }));
    let end = client.end().await;
    assert_eq!((end.farewell.cause, end.farewell.reason.as_str()), (Cause::PortClosed, "maintenance"));
    server.wait_for_state("r1", ClientState::Off).await;
    assert!(server.ask(AdminRequest::Close { reason: String::new() }).await.is_err());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the port is closed");

    let reply = server.ask(AdminRequest::Open { address: None, port: Some(port) }).await;
    assert!(matches!(reply, Ok(AdminReply::Opened(endpoint)) if endpoint.port() == port), "{reply:?}");
    let opened = tokio::time::Instant::now();
    client.wait_for(|what| matches!(what, What::Welcomed(_)).then_some(())).await;
    assert!(opened.elapsed() < Duration::from_secs(2), "back within 2 s, took {:?}", opened.elapsed());
    let again = server.ask(AdminRequest::Open { address: Some("127.0.0.1".to_owned()), port: Some(port) }).await;
    assert_eq!(again, reply, "open is what was asked for");
    let other = server.ask(AdminRequest::Open { address: None, port: Some(port ^ 1) }).await.unwrap_err();
    assert!(other.to_string().contains("open already"), "{other}");
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_explained() {
    let server = Server::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.ask(AdminRequest::Close { reason: String::new() }).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = server.ask(AdminRequest::Open { address: None, port: Some(port) }).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("another program"), "{error}");
    let error = server.ask(AdminRequest::Open { address: Some("192.0.2.1".to_owned()), port: None }).await.unwrap_err();
    assert!(error.to_string().contains("no interface"), "{error}");
}

#[tokio::test]
async fn a_restarted_server_knows_its_clients_and_they_come_back_by_themselves() {
    let mut server = Server::start().await;
    let mut client = Client::join("r1", server.port()).await;
    let port = server.port();
    server.wait_for_state("r1", ClientState::On).await;
    let directory = server.stop().await;
    let end = client.end().await;
    assert_eq!(end.farewell.cause, Cause::Stopping, "{}", end.farewell);
    let mut server = Server::start_in(directory, i64::from(port)).await;
    server.wait_for_state("r1", ClientState::On).await;
    client.wait_for(|what| matches!(what, What::Welcomed(_)).then_some(())).await;
    let export = ExportRequest {
        table: ExportTable::Sessions,
        file_name: String::new(),
        start: None,
        end: None,
        overwrite: false,
        now: switchboard::net::now().wall,
    };
    match server.ask(AdminRequest::Export(export)).await {
        Ok(AdminReply::Exported(exported)) => {
            assert_eq!(exported.rows, 2);
            let text = std::fs::read_to_string(exported.path).unwrap();
            assert!(text.contains("the server is stopping"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_can_be_disconnected_and_comes_back() {
    let server = Server::start().await;
    let mut client = Client::join("r1", server.port()).await;
    let id = ClientId::new("r1").unwrap();
    let reply = server.ask(AdminRequest::DisconnectClient { id, reason: "take a break".to_owned() }).await;
    assert_eq!(reply, Ok(AdminReply::Disconnected));
    assert_eq!(client.end().await.farewell.reason, "take a break");
    client.wait_for(|what| matches!(what, What::Welcomed(_)).then_some(())).await;
}

#[tokio::test]
async fn a_peer_that_stalls_in_the_middle_of_a_frame_is_cut_off_and_disturbs_nobody() {
    let mut server = Server::start().await;
    let mut r1 = Client::join("r1", server.port()).await;
    let mut r2 = Client::join("r2", server.port()).await;
    connect_a_topic(&mut r1, &mut r2).await;
    let whole = [&Version::CURRENT.preamble()[..], &bytes_of(&Frame::Login(login("half")))].concat();
    // At login: a preamble and half a login.
    let mut early = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    early.write_all(&whole[..whole.len() / 2]).await.unwrap();
    // After login: half of a large message.
    let mut late = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    late.write_all(&whole).await.unwrap();
    server.wait_for_state("half", ClientState::On).await;
    late.write_all(b"\x00\x10\x00\x00\x30 and no more").await.unwrap();

    let refused = read_to_end(&mut early).await;
    assert!(
        matches!(&refused[..], [Item::Preamble(_), Item::Frame(Frame::Refused(why))] if why.cause == Cause::LoginTimeout),
        "{refused:?}"
    );
    let items = read_to_end(&mut late).await;
    assert!(
        matches!(items.last(), Some(Item::Frame(Frame::Goodbye(why))) if why.cause == Cause::KeepAlive),
        "{items:?}"
    );
    server.wait_for_state("half", ClientState::Off).await;
    r1.send_data(1, 0, Bytes::from_static(b"still here"));
    assert_eq!(r2.data().await.payload, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_once_came_before_the_welcome() {
    let server = Server::start().await;
    let hello = |id: String| [&Version::CURRENT.preamble()[..], &bytes_of(&Frame::Login(login(&id)))].concat();
    for round in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.write_all(&hello(format!("c{round}"))).await.unwrap();
        let mut head = [0; 13];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").unwrap();
        assert_eq!(head[12], 0x02, "round {round}: the first frame is the welcome");
    }
}

#[tokio::test]
async fn strangers_are_turned_away_and_counted() {
    let mut server = Server::start().await;
    let mut http = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut http).await, [], "a stranger gets no answer");
    let mut old = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    old.write_all(b"SWBD\x63\x00\x00\x00").await.unwrap();
    let items = read_to_end(&mut old).await;
    assert!(matches!(&items[..], [_, Item::Frame(Frame::Refused(why))] if why.cause == Cause::Version), "{items:?}");
    server.wait(|status| status.refused == 2).await;
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_dialled_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Client::dial("r1", listener.local_addr().unwrap().port());
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, Version::CURRENT.preamble());
    assert_eq!(client.end().await.farewell.cause, Cause::LoginTimeout);
    timeout(PATIENCE, listener.accept()).await.expect("it dials again").unwrap();
}
