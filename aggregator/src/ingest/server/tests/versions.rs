//! Answers are in the version of the report, as soon as that has been read; before, in none.

use super::*;

/// A report, whose header says that it is in that version, and of that length.
fn claimed(welcome: &Welcome, version: u16, length: u32) -> Vec<u8> {
    let mut message = wire::encode(&report(welcome.session, 1, Body::Full(Vec::new()))).expect("a message");
    message[4..6].copy_from_slice(&version.to_le_bytes());
    message[7..11].copy_from_slice(&length.to_le_bytes());
    message
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_answered_in_the_version_that_its_header_says() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    let newest = wire::VERSION;
    for version in wire::VERSIONS.iter().copied().chain([newest + 1]) {
        let heard = client.post(REPORT_PATH, "", claimed(&welcome, version, u32::MAX)).await;
        let answered = u16::from_le_bytes([heard.body[4], heard.body[5]]);
        assert_eq!(answered, version.min(newest));
        assert_eq!(heard.read::<Reply>() == Reply::UnknownSession, version > newest);
    }
}

/// An agent of any version takes that status for what it says.
#[tokio::test]
async fn a_report_that_has_not_begun_in_time_is_answered_by_the_status_alone() {
    let mut port = Port::open(Limits { body_timeout: Duration::ZERO, ..Limits::default() }).await;
    let never = StreamBody::new(stream::pending()).boxed_unsync();
    let heard = port.connect().await.begin(REPORT_PATH, "", never).await;
    assert_eq!((heard.status, &heard.body[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"busy\n"[..]));
    assert_eq!(heard.headers[header::RETRY_AFTER], "1");
    assert_eq!(heard.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
}
