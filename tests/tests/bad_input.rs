//! What is refused is refused with a reason, and takes nothing else with it.

use pipeline_tests::{Pipeline, Sent};
use serde_json::{Value, json};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_named_and_the_good_ones_beside_them_arrive() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, _hoard, _syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;

    let good = client.events(3);
    let mut forged = client.events(1).remove(0);
    forged["partnerid"] = json!("contoso");
    let mut misspelt = client.events(1).remove(0);
    misspelt["secondslistened"] = json!("canary-value");
    let not_ours = json!({"eventtype": "tokenrequest", "grant": "password"});
    let batch = json!([good[0], forged, good[1], misspelt, not_ours, good[2]]);

    let (status, answer) = client.post(batch.to_string()).await.expect("an answer");
    assert_eq!(status, 207, "{answer}");
    assert_eq!(
        (&answer["accepted"], &answer["rejected"], &answer["retry"]),
        (&json!(3), &json!(3), &json!(0))
    );
    let statuses: Vec<&Value> = results(&answer).iter().map(|result| &result["status"]).collect();
    let [accepted, rejected] = [json!("accepted"), json!("rejected")];
    assert_eq!(
        statuses,
        [&accepted, &rejected, &accepted, &rejected, &rejected, &accepted]
    );
    assert!(
        results(&answer)[1]["errors"].to_string().contains("/partnerid"),
        "{answer}"
    );
    assert!(
        results(&answer)[3]["errors"]
            .to_string()
            .contains("/secondslistened"),
        "{answer}"
    );
    assert!(
        !answer.to_string().contains("canary-value"),
        "an answer repeats no value"
    );

    for (body, expected) in [
        ("{\"eventtype\":\"play\",", 400),
        ("\"play\"", 400),
        ("[]", 400),
        ("{\"eventtype\":\"play\",\"eventtype\":\"play\"}", 422),
        ("{\"eventtype\":\"unheardof\"}", 422),
    ] {
        let (status, answer) = client.post(body.to_owned()).await.expect("an answer");
        assert_eq!(status, expected, "{body}: {answer}");
    }

    let accepted = good
        .iter()
        .map(|event| event["eventid"].as_str().expect("ours").to_owned())
        .collect();
    let lines = pipeline
        .holds_exactly(&Sent {
            accepted,
            ..Sent::default()
        })
        .await;
    assert_eq!(lines.len(), 3, "nothing that was refused arrives");
}

fn results(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().expect("a result an event")
}
