use super::fake::Fake;
use serde_json::json;

#[tokio::test]
async fn what_is_can_be_looked_at() {
    let fake = Fake::start();
    let (code, status) = fake.get("/v1/status?usage=true").await;
    assert_eq!((code, &status["app"], &status["processes"][0]["name"]), (200, &json!("shop"), &json!("web")));
    assert_eq!(fake.get("/v1/processes").await.1[1]["oneshot"], json!(true));
    assert_eq!(fake.get("/v1/processes/web").await.1["instances"][1]["state"], json!("backoff"));
    assert_eq!(fake.get("/v1/env?process=web").await.1["process"], json!("web"));
    assert_eq!(fake.get("/v1/version").await.1["api"], json!("v1"));
    assert_eq!(fake.get("/v1/health").await, (200, json!({"status": "ok"})));
    assert_eq!(fake.get("/v1/openapi.json").await.1["openapi"], json!("3.1.0"));
}

#[tokio::test]
async fn why_gives_the_instance_with_its_events_and_not_its_siblings() {
    let fake = Fake::start();
    fake.happen("instance.started", Some("web.1")).await;
    fake.happen("instance.exited", Some("web.2")).await;
    let (code, why) = fake.get("/v1/why?target=web.2").await;
    assert_eq!(code, 200);
    assert_eq!(why["instances"].as_array().unwrap().len(), 1);
    assert_eq!(why["instances"][0]["instance"]["reason"], json!("exited with code 1"));
    assert_eq!(why["instances"][0]["events"][0]["kind"], json!("instance.exited"));
    assert_eq!(why["instances"][0]["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn commands_reach_the_main_loop_with_who_gave_them() {
    let fake = Fake::start();
    for word in ["start", "stop", "restart", "reload", "drain", "kill", "enable", "disable"] {
        let (code, result) = fake.post(&format!("/v1/processes/{word}"), r#"{"targets":["web"]}"#).await;
        assert_eq!((code, &result["outcome"]), (200, &json!("done")), "{word}");
    }
    assert_eq!(fake.post("/v1/processes/scale", r#"{"counts":{"web":{"by":-1}}}"#).await.0, 200);
    assert_eq!(fake.post("/v1/processes/signal", r#"{"signal":"USR1","targets":["web"]}"#).await.0, 200);
    assert_eq!(fake.post("/v1/apply", "").await.0, 200);
    assert_eq!(fake.post("/v1/shutdown", r#"{"now":true}"#).await.0, 200);
    assert_eq!(fake.post("/v1/exec", "{}").await.1["env"], json!([["A", "secret"]]));

    let orders = fake.orders.lock().unwrap();
    let texts: Vec<_> = orders.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts[1..3], [r#"Stop ["web"]"#, r#"Restart ["web"]"#]);
    assert_eq!(texts[4..6], [r#"Drain ["web"]"#, r#"Kill ["web"]"#]);
    assert_eq!(texts[8..], [r#"scale {"web": By(-1)}"#, "signal USR1", "apply None", "shutdown true"]);
    let own = svd_sys::users::user_name(orders[0].1.uid).unwrap();
    assert_eq!(Some(orders[0].1.name.clone()), own);
}

#[tokio::test]
async fn the_outcome_of_a_command_is_its_http_status() {
    let fake = Fake::start();
    let order = async |target: &str| {
        let (code, result) = fake.post("/v1/processes/stop", &format!(r#"{{"targets":["{target}"]}}"#)).await;
        (code, result["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(order("refuse").await, (409, "refused".to_owned()));
    assert_eq!(order("fail").await, (500, "failed".to_owned()));
    assert_eq!(order("bad").await, (500, "rolled_back".to_owned()));
    assert_eq!(order("worse").await, (500, "held".to_owned()));
}

#[tokio::test]
async fn only_kill_can_be_told_to_spare_all_but_replaced_instances() {
    let fake = Fake::start();
    let body = r#"{"targets":["web"],"replaced":true}"#;
    assert_eq!(fake.post("/v1/processes/kill", body).await.0, 200);
    for word in ["start", "stop", "restart", "reload", "drain", "enable", "disable"] {
        let (code, answer) = fake.post(&format!("/v1/processes/{word}"), body).await;
        assert_eq!(code, 400, "{word}");
        assert!(answer["error"].as_str().unwrap().contains("`replaced` goes with kill only"), "{answer}");
    }
    let orders = fake.orders.lock().unwrap();
    let texts: Vec<_> = orders.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, [r#"Kill ["web"] replaced"#]);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence() {
    let fake = Fake::start();
    let check = |(code, body): (u16, serde_json::Value), expected: u16, part: &str| {
        let error = body["error"].as_str().unwrap();
        assert_eq!(code, expected, "{error}");
        assert!(error.contains(part), "{error}");
    };
    check(fake.get("/v1/statuss").await, 404, "did you mean /v1/status?");
    check(fake.get("/").await, 404, "/v1/openapi.json");
    check(fake.post("/v1/status", "").await, 405, "use GET");
    check(fake.get("/v1/apply").await, 405, "use POST");
    check(fake.get("/v1/status?usege=1").await, 400, "unknown parameter `usege`");
    check(fake.get("/v1/processes/wep").await, 404, "there are: web, migrate");
    check(fake.get("/v1/why?target=wep").await, 404, "there is no `wep`");
    check(fake.get("/v1/events?target=wep").await, 404, "there is no `wep`");
    check(fake.get("/v1/events?limit=1000000").await, 400, "limit");
    check(fake.get("/v1/logs?grep=(").await, 400, "grep");
    check(fake.get("/v1/logs?since=tomorrow").await, 400, "since");
    check(fake.get("/v1/logs?stream=stdin").await, 400, "stream");
    check(fake.get("/v1/env").await, 400, "process");
    check(fake.get("/v1/wait?for=gold").await, 400, "`gold`");
    check(fake.get("/v1/wait?timeout=2h").await, 400, "at most 1h");
    check(fake.post("/v1/processes/stop", r#"{"targets":[]}"#).await, 400, "`targets` is empty");
    check(fake.post("/v1/processes/stop", r#"{"targets":["web"],"force":true}"#).await, 400, "unknown field `force`");
    check(fake.post("/v1/processes/stop", "{").await, 400, "the body is not what this route takes");
    check(fake.post("/v1/processes/scale", "").await, 400, "counts");
    check(fake.post("/v1/apply", r#"{"file":"relative.toml"}"#).await, 400, "absolute");
    check(fake.post("/v1/processes/__class__", "").await, 405, "use GET");
    check(fake.post("/v1/processes/os.system", "").await, 405, "use GET");
    assert!(fake.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    use super::fake::read_until;
    use tokio::io::AsyncWriteExt;
    let fake = Fake::start();
    let mut stream = fake.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: svd\r\n\r\n").await.unwrap();
        let text = read_until(&mut stream, "}\n").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}
