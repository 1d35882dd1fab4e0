//! The state machine of a connection, for both ends.

use std::{collections::VecDeque, time::Duration};

use super::{ClockReading, PeerClock};
use crate::{
    defaults,
    time::{Mono, Now},
    wire::{Cause, Farewell, Frame, FrameKind, Item, Login, Version, Welcome, WireError},
};

/// The periods and limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the login may take, from the connection to the welcome.
    pub login_timeout: Duration,
    /// How often each end pings.
    pub ping_period: Duration,
    /// Silence after which the other end is taken for dead.
    pub keep_alive_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            login_timeout: defaults::LOGIN_TIMEOUT,
            ping_period: defaults::PING_PERIOD,
            keep_alive_timeout: defaults::KEEP_ALIVE_TIMEOUT,
        }
    }
}

/// What the driver of a [`Session`] is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write our preamble.
    SendPreamble,
    /// Write this frame.
    Send(Frame),
    /// (Server) Decide on this login, and say so with [`Session::handle_decision`].
    Login(Login),
    /// (Client) The exchange has taken us in.
    Welcomed(Welcome),
    /// A frame of the ready session: routes, tables, messages.
    Frame(Frame),
    /// A new reading of round trip and clock offset.
    Clock(ClockReading),
    /// It is over: write what is still to be written, close the connection, and forget the session.
    Ended(End),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub farewell: Farewell,
    /// Whether this end decided it; otherwise the peer did, or the connection broke.
    pub ours: bool,
    /// Whether the session was ready, that is: logged in.
    pub was_ready: bool,
    /// Whether the peer went without having said anything: somebody looked whether the port is open.
    pub was_probe: bool,
}

/// One connection seen from one end.
#[derive(Debug)]
pub struct Session {
    state: State,
    timing: Timing,
    clock: PeerClock,
    last_heard: Mono,
    /// Whether anything was ever heard.
    heard: bool,
    next_ping: Mono,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// Server: waiting for the peer's preamble.
    Greeted {
        deadline: Mono,
    },
    /// Server: waiting for the login.
    LoggingIn {
        deadline: Mono,
    },
    /// Server: the login is being decided and recorded. No deadline: the store always answers, and the peer can do
    /// nothing meanwhile.
    Deciding,
    /// Client: waiting for the server's preamble.
    Dialled {
        deadline: Mono,
    },
    /// Client: waiting for the welcome.
    Waiting {
        deadline: Mono,
    },
    Ready,
    Ended,
}

impl Session {
    /// The server's end of a new connection. Says nothing until the peer has shown that it speaks the protocol.
    pub fn accept(timing: Timing, now: Now) -> Self {
        Self::new(State::Greeted { deadline: now.mono + timing.login_timeout }, timing, now)
    }

    /// The client's end of a new connection: sends its preamble and `login` at once.
    pub fn dial(timing: Timing, login: Login, now: Now) -> Self {
        let mut session = Self::new(State::Dialled { deadline: now.mono + timing.login_timeout }, timing, now);
        session.outputs.push_back(Output::SendPreamble);
        session.send(Frame::Login(login));
        session
    }

    /// Some bytes came, even if they are no whole frame yet: a large message on a slow link is a sign of life.
    pub fn handle_heard(&mut self, now: Now) {
        self.last_heard = now.mono;
        self.heard = true;
    }

    /// What the decoder found.
    pub fn handle_item(&mut self, item: Item, now: Now) {
        self.handle_heard(now);
        match (&self.state, item) {
            (State::Ended, _) => {}
            (State::Greeted { deadline }, Item::Preamble(version)) => {
                let deadline = *deadline;
                self.outputs.push_back(Output::SendPreamble);
                if version.is_compatible() {
                    self.state = State::LoggingIn { deadline };
                } else {
                    self.end(version_mismatch(version), true);
                }
            }
            (State::Dialled { deadline }, Item::Preamble(version)) => {
                // A server of another version says why itself; this is in case it does not.
                if version.is_compatible() {
                    self.state = State::Waiting { deadline: *deadline };
                } else {
                    self.end(version_mismatch(version), true);
                }
            }
            (State::LoggingIn { .. }, Item::Frame(Frame::Login(login))) => {
                self.state = State::Deciding;
                self.outputs.push_back(Output::Login(login));
            }
            (State::Waiting { .. }, Item::Frame(Frame::Welcome(welcome))) => {
                self.become_ready(now);
                self.outputs.push_back(Output::Welcomed(welcome));
            }
            (State::Waiting { .. }, Item::Frame(Frame::Refused(farewell)))
            | (State::Ready, Item::Frame(Frame::Goodbye(farewell))) => self.end(farewell, false),
            (State::Ready, Item::Frame(frame)) => self.handle_ready(frame, now),
            (_, Item::Frame(frame)) => self.violate(frame.kind()),
            (_, Item::Preamble(_)) => {
                self.end(Farewell::new(Cause::Violation, "a second preamble in one connection"), true);
            }
        }
    }

    /// What the decoder could not understand.
    pub fn handle_wire_error(&mut self, error: &WireError) {
        self.end(Farewell::new(error.cause(), error.to_string()), true);
    }

    /// The connection is gone without a goodbye.
    pub fn handle_broken(&mut self, why: &str) {
        self.end(Farewell::new(Cause::KeepAlive, format!("the connection broke: {why}")), false);
    }

    /// (Server) The decision on the login that [`Output::Login`] asked for. The welcome itself is sent by whoever decided,
    /// in front of everything else that is sent to this client.
    pub fn handle_decision(&mut self, decision: Result<(), Farewell>, now: Now) {
        if matches!(self.state, State::Deciding) {
            match decision {
                Ok(()) => self.become_ready(now),
                Err(farewell) => self.end(farewell, true),
            }
        }
    }

    /// This end wants to stop.
    pub fn handle_stop(&mut self, farewell: Farewell) {
        self.end(farewell, true);
    }

    /// The time has come that [`Session::poll_timeout`] said.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.state {
            State::Greeted { deadline }
            | State::LoggingIn { deadline }
            | State::Dialled { deadline }
            | State::Waiting { deadline }
                if now.mono >= deadline =>
            {
                let waited = self.timing.login_timeout.as_secs_f64();
                let whom = if matches!(self.state, State::Greeted { .. } | State::LoggingIn { .. }) {
                    "the client did not log in"
                } else {
                    "the server did not answer the login"
                };
                self.end(Farewell::new(Cause::LoginTimeout, format!("{whom} within {waited} s")), true);
            }
            State::Ready => {
                let silence = now.mono.since(self.last_heard);
                if silence >= self.timing.keep_alive_timeout {
                    let reason = format!("nothing was heard for {:.1} s", silence.as_secs_f64());
                    self.end(Farewell::new(Cause::KeepAlive, reason), true);
                } else if now.mono >= self.next_ping {
                    self.next_ping = now.mono + self.timing.ping_period;
                    let ping = self.clock.ping(now);
                    self.send(Frame::Ping(ping));
                }
            }
            _ => {}
        }
    }

    /// When [`Session::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        match self.state {
            State::Greeted { deadline }
            | State::LoggingIn { deadline }
            | State::Dialled { deadline }
            | State::Waiting { deadline } => Some(deadline),
            State::Ready => Some(self.next_ping.min(self.last_heard + self.timing.keep_alive_timeout)),
            State::Deciding | State::Ended => None,
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether frames of every kind may come now.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    fn new(state: State, timing: Timing, now: Now) -> Self {
        Session {
            state,
            timing,
            clock: PeerClock::default(),
            last_heard: now.mono,
            heard: false,
            next_ping: now.mono,
            outputs: VecDeque::new(),
        }
    }

    fn become_ready(&mut self, now: Now) {
        self.state = State::Ready;
        self.last_heard = now.mono;
        self.next_ping = now.mono;
    }

    fn handle_ready(&mut self, frame: Frame, now: Now) {
        match frame {
            Frame::Ping(ping) => self.send(Frame::Pong(PeerClock::pong(ping, now))),
            Frame::Pong(pong) => {
                if let Some(reading) = self.clock.handle_pong(pong, now) {
                    self.outputs.push_back(Output::Clock(reading));
                }
            }
            Frame::Login(_) | Frame::Welcome(_) | Frame::Refused(_) => self.violate(frame.kind()),
            frame => self.outputs.push_back(Output::Frame(frame)),
        }
    }

    fn violate(&mut self, kind: FrameKind) {
        self.end(Farewell::new(Cause::Violation, format!("a {kind:?} frame is not allowed at this point")), true);
    }

    fn end(&mut self, farewell: Farewell, ours: bool) {
        let was_ready = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return,
            // A peer that has not even sent the magic gets no answer: it would not understand it, and nothing is
            // amplified for a stranger.
            State::Greeted { .. } if farewell.cause != Cause::Version => false,
            State::Greeted { .. } | State::LoggingIn { .. } | State::Deciding => {
                if ours {
                    self.send(Frame::Refused(farewell.clone()));
                }
                false
            }
            State::Dialled { .. } | State::Waiting { .. } => false,
            State::Ready => {
                if ours {
                    self.send(Frame::Goodbye(farewell.clone()));
                }
                true
            }
        };
        let was_probe = !ours && !self.heard;
        self.outputs.push_back(Output::Ended(End { farewell, ours, was_ready, was_probe }));
    }

    fn send(&mut self, frame: Frame) {
        self.outputs.push_back(Output::Send(frame));
    }
}

fn version_mismatch(theirs: Version) -> Farewell {
    let ours = Version::CURRENT;
    let cure = if theirs.major > ours.major { "update this end" } else { "update the other end" };
    Farewell::new(
        Cause::Version,
        format!("the other end speaks protocol {theirs}, this end {ours}: {cure} (seen from {ours})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ClientId, SessionId},
        model::ClientKind,
        time::Wall,
        wire::{Interests, Ping},
    };

    fn at(millis: u64) -> Now {
        Now::default().plus(Duration::from_millis(millis))
    }

    fn login() -> Login {
        Login {
            id: ClientId::new("r1").unwrap(),
            kind: ClientKind::Robot,
            name: String::new(),
            host_name: String::new(),
            software_version: String::new(),
            ros_distro: String::new(),
            capabilities: vec![],
        }
    }

    fn welcome() -> Welcome {
        Welcome { session: SessionId(1), software_version: String::new(), at: Wall(0) }
    }

    fn outputs(session: &mut Session) -> Vec<Output> {
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    fn ended(session: &mut Session) -> End {
        match outputs(session).pop() {
            Some(Output::Ended(end)) => end,
            other => panic!("expected an end, got {other:?}"),
        }
    }

    fn ready_server(now: Now) -> Session {
        let mut session = Session::accept(Timing::default(), now);
        session.handle_item(Item::Preamble(Version::CURRENT), now);
        session.handle_item(Item::Frame(Frame::Login(login())), now);
        session.handle_decision(Ok(()), now);
        outputs(&mut session);
        session
    }

    #[test]
    fn a_client_and_a_server_come_to_terms() {
        let mut client = Session::dial(Timing::default(), login(), at(0));
        let mut server = Session::accept(Timing::default(), at(0));
        assert_eq!(outputs(&mut client), [Output::SendPreamble, Output::Send(Frame::Login(login()))]);
        server.handle_item(Item::Preamble(Version::CURRENT), at(1));
        server.handle_item(Item::Frame(Frame::Login(login())), at(1));
        assert_eq!(outputs(&mut server), [Output::SendPreamble, Output::Login(login())]);
        client.handle_item(Item::Preamble(Version::CURRENT), at(2));
        server.handle_decision(Ok(()), at(2));
        assert!(server.is_ready());
        client.handle_item(Item::Frame(Frame::Welcome(welcome())), at(3));
        assert_eq!(outputs(&mut client), [Output::Welcomed(welcome())]);
        // Both measure at once: the first reading should not have to wait a period.
        client.handle_timeout(at(3));
        assert!(matches!(outputs(&mut client)[..], [Output::Send(Frame::Ping(_))]));
    }

    #[test]
    fn a_stranger_gets_no_answer_and_an_old_client_gets_the_reason() {
        let mut session = Session::accept(Timing::default(), at(0));
        session.handle_wire_error(&WireError::NotSwitchboard(*b"GET "));
        assert!(matches!(outputs(&mut session)[..], [Output::Ended(_)]));

        let mut session = Session::accept(Timing::default(), at(0));
        session.handle_item(Item::Preamble(Version { major: 9, minor: 0 }), at(0));
        match &outputs(&mut session)[..] {
            [Output::SendPreamble, Output::Send(Frame::Refused(farewell)), Output::Ended(end)] => {
                assert_eq!(farewell.cause, Cause::Version);
                assert!(farewell.reason.contains("9.0") && farewell.reason.contains("update"), "{farewell}");
                assert!(!end.was_ready);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn silence_at_login_ends_with_the_limit_in_words() {
        for half_way in [false, true] {
            let mut session = Session::accept(Timing::default(), at(0));
            if half_way {
                session.handle_item(Item::Preamble(Version::CURRENT), at(4_999));
            }
            assert_eq!(session.poll_timeout(), Some(at(5_000).mono), "progress does not extend the deadline");
            session.handle_timeout(at(5_000));
            let end = ended(&mut session);
            assert_eq!(end.farewell.cause, Cause::LoginTimeout);
            assert!(end.farewell.reason.contains("within 5 s"), "{}", end.farewell);
        }
    }

    #[test]
    fn a_dead_peer_is_found_within_five_seconds_and_a_quiet_one_is_not() {
        let mut session = ready_server(at(0));
        let mut now = at(0);
        // The peer answers pings for a while ...
        for _ in 0..20 {
            now = now.plus(Duration::from_secs(1));
            session.handle_timeout(now);
            for output in outputs(&mut session) {
                if let Output::Send(Frame::Ping(ping)) = output {
                    session.handle_item(Item::Frame(Frame::Pong(PeerClock::pong(ping, now))), now);
                }
            }
            outputs(&mut session);
        }
        assert!(session.is_ready());
        // ... and then does not.
        let died = now;
        while session.is_ready() {
            now = Now { mono: session.poll_timeout().unwrap(), ..now };
            session.handle_timeout(now);
        }
        assert!(now.mono.since(died.mono) <= Duration::from_secs(5));
        let end = ended(&mut session);
        assert_eq!((end.farewell.cause, end.was_ready), (Cause::KeepAlive, true));
    }

    #[test]
    fn frames_that_do_not_belong_here_end_the_session() {
        let mut server = Session::accept(Timing::default(), at(0));
        server.handle_item(Item::Preamble(Version::CURRENT), at(0));
        server.handle_item(Item::Frame(Frame::Welcome(welcome())), at(0));
        assert_eq!(ended(&mut server).farewell.cause, Cause::Violation);

        let mut server = ready_server(at(0));
        server.handle_item(Item::Frame(Frame::Login(login())), at(0));
        assert_eq!(ended(&mut server).farewell.cause, Cause::Violation);

        let mut server = ready_server(at(0));
        server.handle_item(Item::Preamble(Version::CURRENT), at(0));
        assert_eq!(ended(&mut server).farewell.cause, Cause::Violation);
    }

    #[test]
    fn nothing_comes_out_after_the_end() {
        let mut session = ready_server(at(0));
        session.handle_stop(Farewell::new(Cause::Stopping, "the server is stopping"));
        match &outputs(&mut session)[..] {
            [Output::Send(Frame::Goodbye(_)), Output::Ended(end)] => assert!(end.ours && end.was_ready),
            other => panic!("{other:?}"),
        }
        session.handle_item(Item::Frame(Frame::Interests(Interests::default())), at(1));
        session.handle_item(Item::Frame(Frame::Ping(Ping { nonce: 0, sent: Wall(0) })), at(1));
        session.handle_timeout(at(100_000));
        session.handle_broken("reset");
        assert_eq!(outputs(&mut session), []);
        assert_eq!(session.poll_timeout(), None);
    }

    #[test]
    fn a_refused_client_is_told_why() {
        let mut client = Session::dial(Timing::default(), login(), at(0));
        client.handle_item(Item::Preamble(Version::CURRENT), at(1));
        let farewell = Farewell::new(Cause::DuplicateId, "r1 is connected already");
        client.handle_item(Item::Frame(Frame::Refused(farewell.clone())), at(1));
        assert_eq!(ended(&mut client), End { farewell, ours: false, was_ready: false, was_probe: false });
    }
}
