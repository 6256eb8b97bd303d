//! An address that is a secret itself.

use super::*;

#[tokio::test]
async fn an_address_in_a_file_is_read_anew_and_shown_nowhere() {
    let receiver = Receiver::start(
        None,
        Arc::new(|heard| {
            let (known, said) = (heard.uri == "/in/hunter2hunter2", format!("no hook at {}", heard.uri));
            let body = Full::new(Bytes::from(said));
            Response::builder().status(if known { 200 } else { 404 }).body(body).expect("a response")
        }),
    )
    .await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("url");
    let target = HttpTarget { address: Address::File(file.clone()), ..receiver.target() };
    let sink = Sink::new(&SinkTarget::Webhook(target.clone()));
    let batch = records(&["a"], false);
    let say = |path: &str| write(&file, &format!("http://{}/in/{path}\n", receiver.addr));

    let sent = sink.send(&batch, NOW).await;
    assert_eq!(sent.outcome, Outcome::Unauthorized, "it is tried again as soon as there is one");
    assert!(sent.why.starts_with(&format!("urlFile {} cannot be read", file.display())), "{}", sent.why);
    assert!(!sink.has_new_credentials().await);
    write(&file, "");
    assert!(sink.has_new_credentials().await, "something else is wrong with it");
    let sent = sink.send(&batch, NOW).await;
    assert!(sent.why.contains("is empty") && !sink.has_new_credentials().await, "{}", sent.why);
    say("hunter3hunter3");
    assert!(sink.has_new_credentials().await);
    let sent = sink.send(&batch, NOW).await;
    assert_eq!(sent.why, "it answered 404 Not Found; check the URL: no hook at …");
    assert!(!sink.has_new_credentials().await);
    say("hunter2hunter2");
    assert!(sink.has_new_credentials().await);
    assert_eq!(sink.send(&batch, NOW).await, Sent::DELIVERED);
    assert!(!format!("{sink:?}").contains("hunter"), "{sink:?}");
    assert_eq!(sink.try_out(NOW).await.map(|tried| tried.sent), Some(Sent::DELIVERED));

    let token_file = folder.path().join("token");
    write(&token_file, "outside.secret");
    let target = HttpTarget { token_file: Some(token_file), ..target };
    assert!(target.url().await.is_ok(), "it does not leave this machine");
    write(&file, "http://hooks.example.com/in");
    let sent = Sink::new(&SinkTarget::Webhook(target)).send(&batch, NOW).await;
    assert!(sent.why.ends_with("tokenFile be left out: a token is sent over https only"), "{}", sent.why);
}
