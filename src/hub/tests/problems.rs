//! What clients say is in the way of their routes.

use super::*;
use crate::wire::Problems;

fn told(problems: &[String]) -> Frame {
    Frame::Problems(Problems { problems: problems.to_vec() })
}

fn events(exchange: &Exchange) -> Vec<String> {
    let events = exchange.commands.iter().filter_map(|command| match command {
        Command::Event(event) if event.kind == EventKind::Problem => Some(event.detail.clone()),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_problem_is_in_the_status_while_it_holds_and_logged_once() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.hub.take_changed();
    let problems = ["/map: differs".to_owned(), "/odom: gets nothing".to_owned()];
    exchange.frame(A, told(&problems[..1]));
    assert!(exchange.hub.take_changed());
    exchange.frame(A, told(&problems));
    let in_status =
        |exchange: &Exchange| exchange.hub.status(exchange.now, |_| LineFigures::default()).clients[0].problems.clone();
    assert_eq!(in_status(&exchange), problems);
    assert_eq!(events(&exchange), problems);
    exchange.hub.take_changed();
    exchange.frame(A, told(&problems));
    assert!(!exchange.hub.take_changed(), "nothing new");
    exchange.frame(A, told(&[]));
    assert!(exchange.hub.take_changed() && in_status(&exchange).is_empty());
    // Those of a session end with it.
    exchange.frame(A, told(&problems));
    exchange.leave(A, true);
    assert!(in_status(&exchange).is_empty());
}

#[test]
fn a_client_that_invents_problems_fills_no_log() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    for n in 0..1_000 {
        exchange.frame(A, told(&[n.to_string()]));
    }
    assert_eq!(events(&exchange).len() as u32, defaults::REFUSALS_LOGGED_PER_MINUTE);
}
