//! What strangers can take, in time and places, and what they cannot.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn who_never_ends_its_handshake_is_in_nobodys_way_and_is_dropped() {
    let limits = Limits { handshakes_max: 1, ..Limits::default() };
    let timeout = limits.handshake_timeout;
    let mut port = Port::open(limits).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(port.addr).await.expect("it listens"));
    }
    port.agent("node-1").await;
    // Only then, as what is under way on a socket does not hold virtual time up.
    tokio::time::pause();
    tokio::time::advance(timeout).await;
    tokio::time::resume();
    for mut stream in silent {
        let end = tokio::time::timeout(timeout / 2, async { stream.read(&mut [0]).await.unwrap_or(0) });
        assert_eq!(end.await, Ok(0));
    }
    assert_eq!(port.counts.dropped_for("handshake"), 10);
}

#[tokio::test]
async fn who_begins_a_handshake_and_does_not_go_on_is_in_nobodys_way() {
    let mut port = Port::open(Limits::default()).await;
    let in_time = Limits::default().handshake_timeout / 2;
    let mut silent = Vec::new();
    for _ in 0..10 {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut begun = rustls::ClientConnection::new(Arc::clone(port.tls.config()), name).expect("a client");
        let mut hello = Vec::new();
        begun.write_tls(&mut hello).expect("it is written to memory");
        let mut stream = TcpStream::connect(port.addr).await.expect("it listens");
        stream.write_all(&hello).await.expect("it is read");
        // Its turn has been when the answer comes.
        let answered = tokio::time::timeout(in_time, async { stream.read(&mut [0]).await.unwrap_or(0) });
        assert_eq!(answered.await, Ok(1));
        silent.push(stream);
    }
    tokio::time::timeout(in_time, port.agent("node-1")).await.expect("it need not wait for them");
}

#[tokio::test]
async fn a_stranger_is_dropped_soon_and_a_silent_agent_late() {
    let mut port = Port::open(Limits::default()).await;
    let mut stranger = port.connect().await;
    let (mut agent, welcome) = port.agent("node-1").await;
    let clock = port.core.clock().clone();
    clock.advance(Duration::from_secs(29));
    assert_eq!(stranger.session("bad", &hello()).await.refused().0, 401);
    clock.advance(Duration::from_secs(1));
    stranger.closed().await;
    assert_eq!(port.counts.dropped_for("stranger"), 1);

    agent.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    clock.advance(Duration::from_secs(299));
    agent.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    clock.advance(Duration::from_secs(299));
    agent.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    clock.advance(Duration::from_mins(5));
    agent.closed().await;
    assert_eq!(port.counts.dropped_for("idle"), 1);
}

#[tokio::test]
async fn one_stranger_too_many_is_closed_and_its_place_is_free_again_later() {
    let mut port = Port::open(Limits { strangers_max: 1, ..Limits::default() }).await;
    let (mut agent, welcome) = port.agent("node-1").await;
    let mut stranger = port.connect().await;
    let mut extra = TcpStream::connect(port.addr).await.expect("it listens");
    assert_eq!(extra.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(port.counts.dropped_for("full"), 1);
    agent.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    port.core.clock().advance(Duration::from_secs(30));
    stranger.closed().await;
    port.agent("node-2").await;
}

#[tokio::test]
async fn one_agent_too_many_is_told_to_wait_and_has_a_place_later() {
    let mut port = Port::open(Limits { connections_max: 1, ..Limits::default() }).await;
    let (first, welcome) = port.agent("node-1").await;
    let mut second = port.connect().await;
    assert_eq!(second.session("on-node-2", &hello()).await.read::<SessionReply>(), SessionReply::Busy(30_000));
    let heard = second.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await;
    assert_eq!(heard.read::<Reply>(), Reply::Busy(30_000));
    drop(first);
    port.tasks
        .until(Stage::Accept, |names| names.iter().filter(|name| **name == "ingest_connection").count() == 1)
        .await;
    let SessionReply::Welcome(_) = second.session("on-node-2", &hello()).await.read() else { panic!("it is let in") };
}

#[tokio::test]
async fn one_node_has_few_of_the_places() {
    let mut port = Port::open(Limits::default()).await;
    let mut connections = Vec::new();
    let reply = loop {
        let mut client = port.connect().await;
        let reply: SessionReply = client.session("on-node-1", &hello()).await.read();
        connections.push(client);
        if !matches!(reply, SessionReply::Welcome(_)) {
            break reply;
        }
        assert!(connections.len() < 20, "it has too many");
    };
    assert_eq!(reply, SessionReply::Busy(30_000));
    port.agent("node-2").await;
}

#[tokio::test]
async fn where_agents_are_turned_off_none_is_let_in() {
    let mut port = Port::open(Limits::default()).await;
    port.publish.send_modify(|config| Arc::make_mut(config).coverage = crate::config::Coverage::Cluster);
    let mut client = port.connect().await;
    let (status, why) = client.session("good", &hello()).await.refused();
    assert_eq!((status, why.split(':').next()), (403, Some("agents are turned off")));
}
