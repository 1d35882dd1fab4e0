//! Every port, limit, timeout and depth in one place, each with its reason.

use std::time::Duration;

/// TCP port of the exchange. In the user range of RFC 6335 and not assigned by IANA.
pub const PORT: u16 = 7420;
/// Shortest and longest period or timeout that can be configured: shorter ones would only keep the processor busy,
/// longer ones would find nothing dead within a working day.
pub const PERIOD_MIN: Duration = Duration::from_millis(10);
/// See [`PERIOD_MIN`].
pub const PERIOD_MAX: Duration = Duration::from_secs(3_600);
/// Longest host name [bytes] (RFC 1035).
pub const HOST_MAX: usize = 253;
/// Frame of the markers: the one that rviz shows without being told (REP 105).
pub const FRAME_ID: &str = "map";
/// Address that the server listens on unless told otherwise. The exchange does not yet authenticate its clients, so
/// strangers are kept out by default; `0.0.0.0` opens it to the network.
pub const ADDRESS: &str = "127.0.0.1";

// ---- names ----

/// Longest client id [characters]. ROS topic names may have 255; this leaves room for the topic itself.
pub const CLIENT_ID_MAX: usize = 64;
/// Longest free text that a client may send about itself (display name, host name, version) [bytes].
pub const TEXT_MAX: usize = 256;
/// Most capabilities a client may list.
pub const CAPABILITIES_MAX: usize = 16;
/// Longest capability [bytes]: a word. With these limits [`LIST_CHUNK`] clients always fit into one control frame.
pub const CAPABILITY_MAX: usize = 64;
/// Longest topic or type name [bytes]: DDS allows topic names of 256.
pub const NAME_MAX: usize = 256;
/// Names that one pattern may stand for once its braces are written out: with [`NAME_MAX`] this bounds what a remote
/// peer's pattern can cost to 4 KiB.
pub const PATTERN_ALTERNATIVES_MAX: usize = 16;
/// Largest rules file [bytes]: [`INTERESTS_MAX`] rules of each sort with comments fit.
pub const RULES_FILE_MAX: u64 = 256 * 1024;
/// Longest text of one rule that is added while a program runs [bytes]: every key with names at their limit fits.
pub const RULE_MAX: usize = 4 * 1024;
/// Lowest rate that a rule can ask for, in Hz: the wire counts in thousandths, and 0 there means no limit.
pub const RATE_MIN: f64 = 0.001;
/// Highest rate that a rule can ask for, in Hz. More is no limit on anything that ROS carries.
pub const RATE_MAX: f64 = 1_000_000.0;
/// YAML nodes that the aliases of a rules file may stand for: each rule may reuse a few, and a bomb of aliases ends early.
pub const RULES_FILE_ALIASES_MAX: usize = 10_000;
/// Longest reason in a goodbye or refusal [bytes]: a few sentences.
pub const REASON_MAX: usize = 1024;

// ---- frames ----

/// Largest frame before login [bytes]: a hello with every text at its limit fits; a stranger cannot make us hold more.
pub const LOGIN_FRAME_MAX: usize = 16 * 1024;
/// Largest control frame after login [bytes].
pub const CONTROL_FRAME_MAX: usize = 256 * 1024;
/// Largest topic message [bytes]: an uncompressed 4K image (3840 × 2160 × 3 = 24.9 MB) fits.
pub const MESSAGE_MAX: usize = 32 * 1024 * 1024;
/// Entries in one frame of the client table or of offers; longer lists are sent in several frames.
pub const LIST_CHUNK: usize = 64;

// ---- session ----

/// How long a connection may take to log in [s]. A slow radio link needs a second or two.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often each end pings.
pub const PING_PERIOD: Duration = Duration::from_secs(1);
/// Silence after which the other end is taken for dead: three pings may be lost, and the whole is found within 5 s.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// First delay before dialling again. Short, since most cuts are short.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest delay between attempts. Short enough that a robot is back within 2 s of the server opening its port.
pub const BACKOFF_MAX: Duration = Duration::from_millis(1_500);
/// How long one attempt to connect may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Round trips remembered for the lowest one and the clock offset: half a minute at one ping a second.
pub const CLOCK_WINDOW: usize = 30;
/// What two clocks may drift apart within that window without having been set: 300 parts in a million, thrice what cheap
/// crystals do.
pub const CLOCK_DRIFT: Duration = Duration::from_millis(10);
/// Difference of two clocks that is told as a warning: half of what TF listeners commonly tolerate (0.2 s), beyond which
/// transforms of one robot are in the future or the past of another.
pub const CLOCK_OFFSET_WARN: Duration = Duration::from_millis(100);
/// How long a goodbye may take to be written before the connection is closed anyway.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

// ---- hub ----

/// Lines that a client may tell about what is in the way of its routes: more would only repeat these.
pub const PROBLEMS_MAX: usize = 16;

// ---- commands ----

/// Age over which a command is dropped when its rule does not say and it makes something move (velocities, and whatever
/// has a stop message). Teleoperation gets uncomfortable at 125 ms; half a second forgives a bad radio link and a clock
/// offset that is estimated over it, and is still a distance that a robot may drive blindly.
pub const COMMAND_MAX_AGE: Duration = Duration::from_millis(500);
/// How long a writer stays after its stop message, so that the message arrives: the middleware sends again what was lost
/// until then.
pub const STOP_LINGER: Duration = Duration::from_secs(1);
/// How long a client that ends waits until its stop messages were received: long for a middleware on one machine, short
/// for somebody who waits for the program to end.
pub const STOP_PATIENCE: Duration = Duration::from_millis(300);
/// Topics of a client that its status lists because several clients command them, and commanders that it names for each:
/// more would only make the status long.
pub const CONTESTED_MAX: usize = 16;

// ---- counters ----

/// Messages whose ages give the percentiles of the latency: enough for a 99th percentile, a kilobyte for each topic.
pub const LATENCY_WINDOW: usize = 256;
/// Topics, each direction and line counted, of which figures are kept: 3 MB in all, and a report of half a megabyte.
pub const METERS_MAX: usize = 2_048;
/// How long a topic has to be silent before its figures may make room for those of another.
pub const METER_IDLE: Duration = Duration::from_secs(60);

/// Clients connected at once.
pub const CLIENTS_MAX: usize = 1_000;
/// Connections that have not logged in yet, at once. Everything a stranger can make the server hold is this many login
/// frames.
pub const PENDING_LOGINS_MAX: usize = 512;
/// Channels that one client may offer.
pub const CHANNELS_MAX: usize = 1_024;
/// Services that one client may offer, those of actions counted one by one.
pub const SERVICES_MAX: usize = 1_024;
/// Patterns that one client may have as interests.
pub const INTERESTS_MAX: usize = 256;
/// Refusals written to the log and the registry per minute; more are only counted, so that a flood of strangers fills
/// no disk.
pub const REFUSALS_LOGGED_PER_MINUTE: u32 = 60;

/// Bytes of the last messages of one transient_local topic that are kept for late joiners, [`PACKET_OVERHEAD`] for each
/// included; one message is always kept.
pub const HISTORY_FEED_BYTES: usize = 4 * 1024 * 1024;
/// The same of all topics together. Beyond it no more are kept, which is told in the log.
pub const HISTORY_BYTES: usize = 256 * 1024 * 1024;

// ---- services ----

/// How long the answer to a service call may take unless a rule says otherwise. Long enough for a slow service, short enough
/// that a caller learns of a hanging one.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Service calls of one client that wait for their answers at a time, and as many requests of others that it has not
/// answered yet. A fleet's worth of slow calls fits; more means that somebody calls in a loop. It is also how many requests
/// or answers the middleware keeps for an endpoint, so that what may wait is not dropped.
pub const CALLS_PENDING_MAX: usize = 1_024;
/// Longest time limit that a rule may give a call: an operator waits no longer than a day.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How much longer than its limit the exchange keeps a call, for the ends to say themselves that the answer did not come in
/// time: they know more of it, and their words take a moment on the line.
pub const CALL_GRACE: Duration = Duration::from_secs(2);
/// How long the request for the result of a goal waits for an action server that has gone, while its client is connected:
/// the time in which a node is started again.
pub const RESULT_PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits for a client that is not connected: a robot may be out of reach for as long as its batteries last.
pub const RESULT_PATIENCE_OFFLINE: Duration = Duration::from_secs(4 * 3_600);
/// How long after it was lost such a request is made again, if the service is still there.
pub const RESULT_RETRY: Duration = Duration::from_secs(1);
/// Calls of one local service that are made at a time at first; the others wait for their turn. As many requests as a ROS
/// server keeps by default: of more it drops the oldest, and nobody is told. Servers that answer so many at the same time get
/// more.
pub const CALLS_AT_A_TIME: usize = 10;
/// Bytes of the requests that wait for their turn, of all services of a client together.
pub const CALLS_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// How long a caller of a local service is kept after its last answer: the next call finds it matched with the server.
pub const CALLER_KEPT: Duration = Duration::from_secs(60);
/// Failed calls that a client writes to its log per minute; more are only counted.
pub const CALL_FAILURES_LOGGED_PER_MINUTE: u32 = 30;

// ---- queues ----

/// Control frames waiting for one slow connection. More means that it does not read at all: it is disconnected.
pub const CONTROL_QUEUE_MAX: usize = 4_096;
/// Bytes of topic messages of one class waiting for one slow connection, [`PACKET_OVERHEAD`] for each included; at least
/// one message is always let in.
///
/// What is still under way from one origin after it was told to pause has to fit, or a reliable message would be lost:
/// this outbox up to its mark ([`CONGESTED_BYTES`], 1 MiB), the origin's queue of samples ([`SAMPLE_QUEUE_BYTES`], 8 MiB)
/// and its outbox up to its mark (1 MiB), the socket buffers between them (4 MiB to send and 6 MiB to receive at Linux's
/// limits), and what waits for the hub ([`INBOUND_QUEUE`] messages of up to 128 KiB, 8 MiB). That is 28 MiB.
pub const DATA_QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Memory that a waiting packet takes beside its bytes: its places in the queue and in the allocator. It bounds the number
/// of small messages.
pub const PACKET_OVERHEAD: usize = 256;
/// Bytes of reliable messages of one class, waiting for one connection, from which on their origins are told to pause.
/// A tenth of a second at 10 MB/s: enough that the link never runs dry while the origins are told to go on, and little
/// enough that what waits is not old.
pub const CONGESTED_BYTES: usize = 1024 * 1024;
/// The same in messages: as many as fill [`CONGESTED_BYTES`] at 1 KiB each.
pub const CONGESTED_PACKETS: usize = 1_024;
/// Bytes of those messages down to which the link has to come before the origins are told to go on. Well below
/// [`CONGESTED_BYTES`], so that they are not told so for each message.
pub const RELIEVED_BYTES: usize = CONGESTED_BYTES / 4;
/// The same in messages.
pub const RELIEVED_PACKETS: usize = CONGESTED_PACKETS / 4;
/// Topics whose dropped messages are counted one by one between two looks: as many as a client may offer.
pub const DROP_TAGS_MAX: usize = CHANNELS_MAX;
/// How long one receiver may hold a reliable topic back while another could go on. Long enough for a hiccup of a radio
/// link; after that the slow one loses messages, and nobody else waits for it.
pub const HOLD_MAX: Duration = Duration::from_secs(2);
/// Frames from one connection waiting for the hub. Small: a reader that is ahead of the hub has to wait.
pub const INBOUND_QUEUE: usize = 64;
/// Samples from the local ROS graph waiting for the node's loop.
pub const SAMPLE_QUEUE: usize = 256;
/// Bytes of those samples; one more of any size is let in, and the rest waits in the middleware. Small, since it is under
/// way when a topic is told to pause ([`DATA_QUEUE_BYTES`]).
pub const SAMPLE_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Requests waiting for the store: logins of a fleet that comes back all at once.
pub const STORE_QUEUE: usize = 1_024;
/// How long the store waits for another program (a `sqlite3` shell, a backup) that holds the database locked. Well below
/// [`LOGIN_TIMEOUT`], so that a login gets the reason instead of running out of time.
pub const STORE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Length to which the write-ahead log is cut back after a checkpoint [bytes]. It grows beyond that only while a long
/// export reads an old state of the database.
pub const STORE_LOG_KEPT: u64 = 16 * 1024 * 1024;
/// Rows added to a table before its oldest are pruned: a table may be that much longer than its bound.
pub const PRUNE_EVERY: u64 = 1_000;
/// Exports that may run at once. Each is a thread that reads the database and writes a file; more would only share the
/// same disk.
pub const EXPORTS_MAX: usize = 2;
/// Longest name of an exported file [bytes]: what Linux file systems allow.
pub const FILE_NAME_MAX: usize = 255;
/// Rows of the event log that are kept; the oldest go first. About 100 MB.
pub const EVENTS_KEPT: u64 = 500_000;
/// Rows of ended sessions that are kept; the oldest go first.
pub const SESSIONS_KEPT: u64 = 500_000;
/// Clients that the registry keeps; a login of one more is refused until some are removed.
pub const CLIENTS_KEPT: u64 = 10_000;

// ---- ROS ----

/// Samples taken from one reader before the others get their turn.
pub const TAKES_PER_TURN: usize = 32;
/// Failures of the middleware in a row after which a reader, or the bridge, is given up instead of asked for ever.
pub const ROS_FAILURES_MAX: u32 = 100;

/// How long an administrator's request may take: an export of a full event log takes seconds.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests of administrators that may wait for their answers at once; more are refused.
pub const ADMIN_PENDING_MAX: usize = 64;
/// Depth of a writer or reader whose publishers do not tell theirs.
pub const UNKNOWN_DEPTH: u32 = 10;
/// Publishers behind one topic that are told apart; the others share the place of the last one. More than a graph has on
/// one topic, and few enough that nobody makes a receiver hold hundreds of writers.
pub const PUBLISHERS_MAX: usize = 64;
/// Largest depth of a route: the sum of its publishers' depths is cut here, so that a hundred publishers do not make a
/// middleware queue of their sum.
pub const DEPTH_MAX: u32 = 1_000;
/// How long the graph is left to settle after a change before the routes are worked out again: a node that starts makes
/// a burst of changes.
pub const GRAPH_SETTLE: Duration = Duration::from_millis(50);
/// How often status is published without a change.
pub const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// Shortest time between two publications of the status, so that a fleet that comes back at once makes a few messages
/// and not hundreds.
pub const STATUS_SETTLE: Duration = Duration::from_millis(20);
/// How often a route that could not be opened is tried again: a package may have been installed in the meantime.
pub const RETRY_CLOSED: Duration = Duration::from_secs(10);
/// Different warnings about routes that one client gives; more would only repeat what these say.
pub const ROUTE_WARNINGS_MAX: usize = 200;
